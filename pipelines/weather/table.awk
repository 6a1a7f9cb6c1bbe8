# A CSV file as a table in Markdown: _ in names of columns becomes a space, numbers stand right.
#
#   awk -f table.awk file.csv

BEGIN { FS = "," }

FNR == 1 {
    for (i = 1; i <= NF; i++) {
        gsub(/_/, " ", $i)
        name[i] = $i
    }
    columns = NF
    next
}

FNR == 2 {
    names = marks = "|"
    for (i = 1; i <= columns; i++) {
        names = names " " name[i] " |"
        marks = marks ($i ~ /^-?[0-9.]+$/ ? " ---: |" : " --- |")
    }
    print names
    print marks
}

{
    row = "|"
    for (i = 1; i <= columns; i++) row = row " " $i " |"
    print row
}
