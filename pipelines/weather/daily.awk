# Hours into days: date,min,mean,max in °C. The hours of a day must stand together.
#
#   awk -f daily.awk clean.csv

BEGIN {
    FS = ","
    print "date,min,mean,max"
}

function day_is_over() {
    if (n) printf "%s,%.2f,%.2f,%.2f\n", date, low, sum / n, high
    n = 0
    sum = 0
}

$1 != date {
    day_is_over()
    date = $1
    low = high = $3 + 0
}

{
    n++
    sum += $3
    if ($3 + 0 < low) low = $3 + 0
    if ($3 + 0 > high) high = $3 + 0
}

END { day_is_over() }
