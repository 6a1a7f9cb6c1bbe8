# The mean of each hour of the day in each month: month,hour,mean in °C.
#
#   awk -f hours.awk clean.csv

BEGIN { FS = "," }

{
    month = substr($1, 6, 2) + 0
    sum[month, $2 + 0] += $3
    n[month, $2 + 0]++
}

END {
    print "month,hour,mean"
    for (month = 1; month <= 12; month++)
        for (hour = 0; hour < 24; hour++)
            if (n[month, hour]) printf "%02d,%02d,%.1f\n", month, hour, sum[month, hour] / n[month, hour]
}
