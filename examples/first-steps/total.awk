# The sum of each customer's orders: customer,total
BEGIN { FS = "," }
{ total[$2] += $3 }
END { for (customer in total) printf "%s,%.2f\n", customer, total[customer] }
