# An export of hourly temperatures in °F, as date,hour,celsius.
#
#   awk -v date_column=1 -v temp_column=2 -v date_format='YYYY/MM/DD hh:mm' -f clean.awk export.csv
#
# A line that is not as it should be ends the work: a hole is better found here than in the chart.

BEGIN {
    FS = ","
    year = index(date_format, "YYYY")
    month = index(date_format, "MM")
    day = index(date_format, "DD")
    hour = index(date_format, "hh")
}

function refuse(what) {
    printf "%s:%d: %s: %s\n", FILENAME, FNR, what, $0 > "/dev/stderr"
    failed = 1
    exit 1
}

FNR == 1 { next }   # names of columns

{
    date = $date_column
    temp = $temp_column
    sub(/\r$/, "", date)
    sub(/\r$/, "", temp)
    if (length(date) != length(date_format)) refuse("not a date like " date_format)
    if (temp !~ /^-?[0-9]+(\.[0-9]+)?$/) refuse("not a temperature")
    printf "%s-%s-%s,%s,%.2f\n", substr(date, year, 4), substr(date, month, 2), substr(date, day, 2), substr(date, hour, 2), (temp - 32) * 5 / 9
}

END { if (failed) exit 1 }
