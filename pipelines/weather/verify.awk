# Is every day of the year there, with enough hours, each hour once?
#
#   awk -v year=2010 -v hours=23 -f verify.awk clean.csv

BEGIN { FS = "," }

{
    if (++seen[$1 "," $2] == 2) complain($1 " " $2 "h is there more than once")
    count[$1]++
}

function complain(what) {
    # The first ten are enough to see what is wrong.
    if (++complaints <= 10) print FILENAME ": " what > "/dev/stderr"
}

END {
    leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
    split("31 " (leap ? 29 : 28) " 31 30 31 30 31 31 30 31 30 31", days, " ")
    for (month = 1; month <= 12; month++) {
        for (day = 1; day <= days[month]; day++) {
            date = sprintf("%04d-%02d-%02d", year, month, day)
            if (count[date] + 0 < hours + 0) complain(date " has " (count[date] + 0) " hours of " hours)
            total += count[date] > 0
        }
    }
    printf "%s: %d days, %d hours\n", FILENAME, total, NR
    if (complaints) exit 1
}
