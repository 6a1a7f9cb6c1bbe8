# On how many days each city was warmer than all others, and by how much on average.
#
#   awk -f warmest.awk days.csv

BEGIN { FS = "," }

FNR == 1 {
    cities = NF
    for (i = 2; i <= cities; i++) name[i] = $i
    next
}

{
    best = second = 0
    for (i = 2; i <= cities; i++) {
        if (!best || $i + 0 > $best + 0) {
            second = best
            best = i
        } else if (!second || $i + 0 > $second + 0) {
            second = i
        }
    }
    if (second && $best + 0 == $second + 0) {
        equal++
    } else {
        days[best]++
        if (second) lead[best] += $best - $second
    }
}

END {
    print "city,days_warmest,lead"
    for (i = 2; i <= cities; i++) printf "%s,%d,%.1f\n", name[i], days[i], days[i] ? lead[i] / days[i] : 0
    if (equal) printf "as warm as each other,%d,0.0\n", equal
}
