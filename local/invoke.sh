#!/bin/sh
# Runs every function with its sample event in a container of the Lambda runtime.
# Options for sam come from SAM_LOCAL_OPTIONS, for example --skip-pull-image.
set -eu

if ! python -c 'import docker; docker.from_env().ping()' 2>/dev/null; then
    echo "make local-invoke runs functions in containers and needs a Docker engine: start one and run it again." >&2
    exit 1
fi

sam build --cached
for folder in functions/*/; do
    name=$(basename "$folder")
    function=$(python -c 'import sys; print(sys.argv[1].title().replace("_", ""))' "$name")Function
    echo "== $function with events/$name.json"
    # Unquoted: a list of options.
    # shellcheck disable=SC2086
    result=$(sam local invoke "$function" --event "events/$name.json" ${SAM_LOCAL_OPTIONS:-})
    echo "$result"
    case $result in *'"errorType"'*) exit 1 ;; esac
done
