#!/bin/sh
# The page: what was found, in words, tables and pictures. It lies beside chart.svg and clock/.
#
#   sh report.sh YEAR extremes.csv warmest.csv climate/CITY.csv...
set -eu

here=$(dirname "$0")
year=$1 extremes=$2 warmest=$3
shift 3

cat << END
# Temperatures of $year

All temperatures are in °C. A cool day has a minimum below the limit that the pipeline's \`config\` sets, a warm day a
maximum of at least the other one.

![daily means and ranges](chart.svg)

## Extremes

$(awk -f "$here/table.awk" "$extremes")

## Side by side

$(awk -f "$here/table.awk" "$warmest")

END

for climate; do
    city=$(basename "$climate" .csv)
    cat << END
## $city, month by month

$(awk -f "$here/table.awk" "$climate")

The warmest month was $(tail -n +2 "$climate" | sort -t, -k3,3nr -k1,1 | head -n 1 | cut -d, -f1), the coldest $(tail -n +2 "$climate" | sort -t, -k3,3n -k1,1 | head -n 1 | cut -d, -f1).

![hours of the day through the year](clock/$city.svg)

END
done
