# Days into a folder with a file for each month: 01.csv to 12.csv.
#
#   awk -v folder=months -f months.awk daily.csv

BEGIN { FS = "," }

FNR == 1 { names = $0; next }

{
    file = folder "/" substr($1, 6, 2) ".csv"
    if (file != last) {
        if (last != "") close(last)
        print names > file
        last = file
    }
    print > file
}
