#!/bin/sh
# Health over HTTP with nothing but curl: report, ask for a verdict, see who says what of whom.
#   VAGUS_URL=http://127.0.0.1:7117 VAGUS_TOKEN=$(cat ~/.local/state/vagus/token) sh examples/health/curl.sh
set -eu
url=${VAGUS_URL:-http://127.0.0.1:7117}
: "${VAGUS_TOKEN:?set it to what the file says that HOME/nodes/NODE/gateway.json names}"
ask() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $VAGUS_TOKEN" "$@"; echo; }

# a context is a status (a name, or a letter: h p m u d dd), or a status with a score of your choice
ask "$url/v1/report" --json '{"observer": "shell@1", "subject": "db@2", "contexts": {"read": ["UNHEALTHY", 30], "ping": "h"}}'

# the verdict, its accusers, and the reports behind it; in the path a name is percent-encoded: db%402
ask "$url/v1/health/db%402"

# what one observer said last, oldest first
ask "$url/v1/health/db%402/panorama?observer=shell%401"

# observers x subjects; with the ETag of the last answer in If-None-Match a 304 while nothing changed
ask "$url/v1/matrix"
