# A city's hours as a picture (SVG): hours of the day to the right, months down, colour for the mean.
#
#   awk -v title=Seattle -v low=4 -v high=24 -f clock.awk hours.csv

BEGIN {
    FS = ","
    wide = 30
    tall = 22
    left = 52
    top = 66
    width = left + 24 * wide + 24
    height = top + 12 * tall + 66
    split("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", month_name, " ")
    # From cold to hot, as red, green, blue.
    stops = split("38,84,148 99,159,203 214,229,222 246,190,106 192,70,46", stop, " ")
}

FNR == 1 { next }

{ mean[$1 + 0, $2 + 0] = $3 }

function colour(temp,    at, i, part, a, b) {
    at = (temp - low) / (high - low)
    if (at < 0) at = 0
    if (at > 1) at = 1
    at *= stops - 1
    i = int(at)
    if (i > stops - 2) i = stops - 2
    part = at - i
    split(stop[i + 1], a, ",")
    split(stop[i + 2], b, ",")
    return sprintf("rgb(%d,%d,%d)", a[1] + (b[1] - a[1]) * part, a[2] + (b[2] - a[2]) * part, a[3] + (b[3] - a[3]) * part)
}

function text(at_x, at_y, class, words) {
    gsub(/&/, "\\&amp;", words)
    gsub(/</, "\\&lt;", words)
    printf "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", at_x, at_y, class, words
}

END {
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n", width, height, width, height
    print "<style>"
    print "text { font-family: system-ui, 'DejaVu Sans', sans-serif; fill: #4a5568; font-size: 12px }"
    print ".title { font-size: 17px; font-weight: 600; fill: #1a202c }"
    print ".right { text-anchor: end }"
    print ".middle { text-anchor: middle }"
    print "</style>"
    printf "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height
    text(left, 30, "title", title)
    text(left, 49, "", "mean temperature by hour of the day and month")
    for (month = 1; month <= 12; month++) {
        text(left - 10, top + (month - 1) * tall + tall / 2 + 4, "right", month_name[month])
        for (hour = 0; hour < 24; hour++)
            if ((month, hour) in mean)
                printf "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"2\" fill=\"%s\"><title>%s %02d:00  %.1f °C</title></rect>\n", left + hour * wide, top + (month - 1) * tall, wide - 2, tall - 2, colour(mean[month, hour]), month_name[month], hour, mean[month, hour]
    }
    for (hour = 0; hour < 24; hour += 3) text(left + hour * wide + wide / 2 - 1, top + 12 * tall + 16, "middle", sprintf("%02d", hour))

    # The scale.
    from = left + 24 * wide - 2 - 240 - 28
    for (i = 0; i < 60; i++)
        printf "<rect x=\"%.1f\" y=\"%d\" width=\"4.5\" height=\"10\" fill=\"%s\"/>\n", from + i * 4, height - 32, colour(low + (high - low) * i / 59)
    text(from - 8, height - 23, "right", low "°")
    text(from + 248, height - 23, "", high "°")
    print "</svg>"
}
