# The coldest and the hottest day of each city, with cool days and warm days.
#
#   awk -v cool=5 -v warm=20 -f extremes.awk daily/*.csv

BEGIN {
    FS = ","
    print "city,coldest_on,coldest,hottest_on,hottest,widest_on,widest,cool_days,warm_days"
}

function city_is_over() {
    if (n) printf "%s,%s,%.1f,%s,%.1f,%s,%.1f,%d,%d\n", city, cold_on, cold, hot_on, hot, wide_on, wide, cools, warms
    n = cools = warms = 0
}

FNR == 1 {
    city_is_over()
    city = FILENAME
    sub(/.*\//, "", city)
    sub(/\.csv$/, "", city)
    next
}

{
    if (!n || $2 + 0 < cold) { cold = $2 + 0; cold_on = $1 }
    if (!n || $4 + 0 > hot) { hot = $4 + 0; hot_on = $1 }
    if (!n || $4 - $2 > wide) { wide = $4 - $2; wide_on = $1 }
    n++
    cools += $2 + 0 < cool + 0
    warms += $4 + 0 >= warm + 0
}

END { city_is_over() }
