#!/bin/sh
# Words of a text with their number, a line each.
set -eu
tr -cs '[:alpha:]' '\n' < "$1" | tr '[:upper:]' '[:lower:]' | sed '/^$/d' | sort | uniq -c | awk '{ print $2, $1 }'
