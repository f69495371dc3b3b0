#!/bin/sh
# Launch a repository and print the address of its notebook; the log goes to the terminal.
#
#   ./launch.sh https://bindery.example.org/ gh/binder-examples/requirements/HEAD
#
# It needs curl and sed, and goes on where it was when the connection breaks.
set -eu

service=${1%/}
link=$2
last=""

# The value of a text in a line of JSON, enough for addresses and sentences.
value() { sed -n "s/.*\"$1\": *\"\(\([^\"\\\\]\|\\\\.\)*\)\".*/\1/p" | sed 's/\\n//g; s/\\"/"/g'; }

for attempt in 1 2 3 4 5; do
    curl --silent --show-error --no-buffer --header 'Accept: text/event-stream' \
        ${last:+--header "Last-Event-ID: $last"} "$service/build/$link" |
    while IFS= read -r line; do
        case $line in
            "id: "*) printf '%s' "${line#id: }" >"${TMPDIR:-/tmp}/launch.$$" ;;
            *'"phase":'*'"ready"'*)
                url=$(printf '%s' "$line" | value url)
                token=$(printf '%s' "$line" | value token)
                echo "$url?token=$token"
                exit 10 ;;
            *'"phase":'*'"failed"'*)
                printf '%s' "$line" | value message >&2
                printf '%s' "$line" | value hint >&2
                exit 11 ;;
            data:*) printf '%s' "$line" | value message >&2 ;;
        esac
    done && ended=0 || ended=$?
    last=$(cat "${TMPDIR:-/tmp}/launch.$$" 2>/dev/null || true)
    rm -f "${TMPDIR:-/tmp}/launch.$$"
    [ "$ended" = 10 ] && exit 0
    [ "$ended" = 11 ] && exit 1
    echo "The connection was lost; trying again ($attempt)" >&2
    sleep 2
done
echo "The service does not answer any more." >&2
exit 1
