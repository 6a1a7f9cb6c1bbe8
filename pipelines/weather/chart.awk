# Daily files of some cities as one picture of the year (SVG): a line for the mean over seven days, a
# band between minimum and maximum.
#
#   awk -v titles='Seattle|San Francisco' -v colours='#2b6cb0|#dd6b20' -f chart.awk daily/*.csv

BEGIN {
    FS = ","
    width = 960
    height = 460
    left = 56
    right = width - 24
    top = 84
    bottom = height - 52
    split(titles, title, "|")
    split(colours, colour, "|")
}

FNR == 1 { cities++; next }

{
    n = ++days[cities]
    if (n > most) most = n
    if (cities == 1) {
        date[n] = $1
        if (year == "") year = substr($1, 1, 4)
    }
    low[cities, n] = $2
    mean[cities, n] = $3
    high[cities, n] = $4
    if (least == "" || $2 + 0 < least) least = $2 + 0
    if (greatest == "" || $4 + 0 > greatest) greatest = $4 + 0
}

function x(day) { return left + (day - 0.5) * (right - left) / most }
function y(temp) { return bottom - (temp - floor_at) * (bottom - top) / (ceiling_at - floor_at) }

# The mean over the three days before and after, fewer at the ends.
function smooth(city, day,    from, to, i, sum) {
    from = day > 3 ? day - 3 : 1
    to = day + 3 < days[city] ? day + 3 : days[city]
    for (i = from; i <= to; i++) sum += mean[city, i]
    return sum / (to - from + 1)
}

function fives(temp, up,    whole) {
    whole = int(temp / 5)
    if (up && whole * 5 < temp) whole++
    if (!up && whole * 5 > temp) whole--
    return whole * 5
}

function text(at_x, at_y, class, words) {
    gsub(/&/, "\\&amp;", words)
    gsub(/</, "\\&lt;", words)
    printf "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", at_x, at_y, class, words
}

END {
    floor_at = fives(least, 0)
    ceiling_at = fives(greatest, 1)

    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"Temperatures of %s\">\n", width, height, width, height, year
    print "<style>"
    print "text { font-family: system-ui, 'DejaVu Sans', sans-serif; fill: #4a5568; font-size: 12px }"
    print ".title { font-size: 19px; font-weight: 600; fill: #1a202c }"
    print ".right { text-anchor: end }"
    print ".middle { text-anchor: middle }"
    print ".grid { stroke: #e2e8f0 }"
    print ".axis { stroke: #a0aec0 }"
    print "</style>"
    printf "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height
    text(left, 32, "title", "Temperatures of " year)
    text(left, 54, "", "°C; line: mean over seven days, band: from the day's minimum to its maximum")

    for (temp = floor_at; temp <= ceiling_at; temp += 5) {
        printf "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", temp == 0 ? "axis" : "grid", left, right, y(temp), y(temp)
        text(left - 10, y(temp) + 4, "right", temp "°")
    }

    split("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", month_name, " ")
    for (day = 1; day <= most; day++) {
        month = substr(date[day], 6, 2) + 0
        if (month != before) {
            first[month] = day
            edge = left + (day - 1) * (right - left) / most
            if (before) printf "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", edge, edge, top, bottom
            before = month
        }
        last[month] = day
    }
    for (month = 1; month <= 12; month++)
        if (first[month]) text((x(first[month]) + x(last[month])) / 2, bottom + 20, "middle", month_name[month])
    printf "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", left, right, bottom, bottom

    for (city = 1; city <= cities; city++) {
        printf "<path fill=\"%s\" fill-opacity=\"0.18\" d=\"M", colour[city]
        for (day = 1; day <= days[city]; day++) printf "%.1f,%.1f ", x(day), y(high[city, day])
        for (day = days[city]; day >= 1; day--) printf "%.1f,%.1f ", x(day), y(low[city, day])
        print "Z\"/>"
    }
    for (city = 1; city <= cities; city++) {
        printf "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2.2\" stroke-linejoin=\"round\" points=\"", colour[city]
        for (day = 1; day <= days[city]; day++) printf "%.1f,%.1f ", x(day), y(smooth(city, day))
        print "\"/>"
    }

    # The legend, from the right: the last city first.
    at = right
    for (city = cities; city >= 1; city--) {
        at -= 7.2 * length(title[city]) + 34 + (city < cities ? 24 : 0)
        printf "<rect x=\"%.1f\" y=\"21\" width=\"26\" height=\"12\" fill=\"%s\" fill-opacity=\"0.18\"/>\n", at, colour[city]
        printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"27\" y2=\"27\" stroke=\"%s\" stroke-width=\"2.2\"/>\n", at, at + 26, colour[city]
        text(at + 34, 31, "", title[city])
    }
    text(right, height - 12, "right", "data: NOAA")
    print "</svg>"
}
