#!/bin/sh
# The page: sh page.sh top.tsv lengths.tsv
set -eu
printf '# Words\n\nThe most frequent of all:\n\n'
sed 's/^/- /' "$1"
printf '\nWords of each book:\n\n'
sed 's/^/- /' "$2"
