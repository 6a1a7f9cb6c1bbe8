# Months, a file each, into one table: month,min,mean,max,cool_days,warm_days.
#
#   awk -v cool=5 -v warm=20 -f climate.awk months/*.csv

BEGIN {
    FS = ","
    print "month,min,mean,max,cool_days,warm_days"
}

function month_is_over() {
    if (n) printf "%s,%.1f,%.2f,%.1f,%d,%d\n", month, low, sum / n, high, cools, warms
    n = sum = cools = warms = 0
}

FNR == 1 { month_is_over(); next }

{
    month = substr($1, 1, 7)
    if (!n || $2 + 0 < low) low = $2 + 0
    if (!n || $4 + 0 > high) high = $4 + 0
    n++
    sum += $3
    cools += $2 + 0 < cool + 0
    warms += $4 + 0 >= warm + 0
}

END { month_is_over() }
