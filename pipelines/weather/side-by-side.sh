#!/bin/sh
# Joins the daily means of any number of cities by date: date,CITY,CITY,…
#
#   sh side-by-side.sh daily/seattle.csv daily/sf.csv
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

names=date
for file; do
    city=$(basename "$file" .csv)
    names=$names,$city
    tail -n +2 "$file" | cut -d, -f1,3 | sort -t, -k1,1 > "$work/$city"
    if [ -e "$work/.joined" ]; then
        join -t, "$work/.joined" "$work/$city" > "$work/.more"
        mv "$work/.more" "$work/.joined"
    else
        cp "$work/$city" "$work/.joined"
    fi
done

echo "$names"
cat "$work/.joined"
