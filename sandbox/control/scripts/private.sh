# Common beginning of the scripts that run restic on a machine.
# Standard input brings three lines (key id, key, password) and then stays open: when it ends, whoever ordered this has
# gone, and restic is interrupted, so that it removes its lock from the repository.
set -u
umask 077
command -v restic >/dev/null || { echo "restic is not installed on this machine" >&2; exit 127; }
mkdir -p /run/dumont
private=$(mktemp -d /run/dumont/XXXXXXXXXX) || exit
trap 'rm -rf -- "$private"' EXIT
trap 'exit 129' HUP
IFS= read -r key_id
IFS= read -r key
IFS= read -r password
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$key_id" "$key" >"$private/credentials"
printf '%s\n' "$password" >"$private/password"
unset key_id key password
export AWS_SHARED_CREDENTIALS_FILE=$private/credentials AWS_DEFAULT_REGION=us-east-1
export RESTIC_PROGRESS_FPS=2  # in JSON, restic would tell its progress 60 times a second
exec 3<&0
# The kernel schedules session by session, and `nice` counts only within one: so this session is made nice as a whole.
{ echo 5 >/proc/self/autogroup; } 2>/dev/null || true

# Report the size of a folder's disk when restic failed on it, so that the caller knows whose disk is full.
tell_disk() { stat --file-system --format="%n is on a disk of %b blocks of %S bytes, %a of them free" -- "$1" >&2; }

# Runs `meanwhile` beside restic, with its process id, where the script has such a function.
polite_restic() {
    nice -n 5 restic --password-file "$private/password" "$@" </dev/null 3<&- &
    local restic=$!
    # Interrupted, restic tries to remove its lock; while the store is away, it would try that for minutes.
    { read -r -u 3; kill -INT "$restic"; sleep 3; kill -KILL "$restic"; } >/dev/null 2>&1 &
    local listener=$!
    disown "$listener"
    local companion=
    if declare -F meanwhile >/dev/null; then
        meanwhile "$restic" &
        companion=$!
        disown "$companion"
    fi
    wait "$restic"
    local code=$?
    kill "$listener" $companion 2>/dev/null
    return "$code"
}
