#!/usr/bin/env bash
# The Dumont agent: tells Dumont Cloud that the machine is alive and how busy its GPUs are.
# One process, which starts another only to ask the driver; it needs nothing but bash.
set -u
export LC_ALL=C # lengths are counted in bytes
trap '' PIPE    # a server that hangs up must not end the agent
# The kernel schedules session by session: this one is made as nice as its process.
{ echo 19 >/proc/self/autogroup; } 2>/dev/null
# SERVER_HOST, SERVER_PORT, INSTANCE_ID, INTERVAL (seconds)
. "$(dirname -- "${BASH_SOURCE[0]}")/config.env"

# A pipe in which nothing ever arrives: reading it with a time limit sleeps without starting a process.
exec {silence}<> <(:)

# Sets `metrics` to JSON, or to null when the driver does not answer: silence is not idleness.
read_metrics() {
    local gpu field count=0 sum=0
    local -a gpus values columns=('' '' '' '' '')
    mapfile -t gpus < <(nvidia-smi --query-gpu=utilization.gpu,memory.used,memory.total,temperature.gpu,name \
        --format=csv,noheader,nounits 2>/dev/null)
    for gpu in "${gpus[@]}"; do
        IFS=, read -r -a values <<<"${gpu//[\"\\]/}"
        [[ ${values[0]} =~ ^[0-9]+$ && ${#values[@]} == 5 ]] || continue
        for field in 1 2 3; do
            [[ ${values[field]} =~ ^\ *[0-9]+$ ]] || values[field]=null
        done
        values[4]=\"${values[4]# }\"
        for field in "${!values[@]}"; do columns[field]+=,${values[field]}; done
        ((count += 1, sum += values[0]))
    done
    metrics=null
    ((count)) || return
    printf -v metrics '{"utilization":%d,"gpu_count":%d,"gpu_utilizations":[%s],"gpu_memory_used":[%s],' \
        "$((sum / count))" "$count" "${columns[0]:1}" "${columns[1]:1}"
    printf -v metrics '%s"gpu_memory_total":[%s],"gpu_temperatures":[%s],"gpu_names":[%s]}' \
        "$metrics" "${columns[2]:1}" "${columns[3]:1}" "${columns[4]:1}"
}

# Sends one heartbeat with the status $1. A server that cannot be reached is tried again at the next beat.
post() {
    local body time wire answer
    TZ=UTC printf -v time '%(%Y-%m-%dT%H:%M:%SZ)T' -1
    printf -v body '{"agent":"DumontAgent","version":"1.0.0","instance_id":"%s","status":"%s","timestamp":"%s",' \
        "$INSTANCE_ID" "$1" "$time"
    printf -v body '%s"uptime":%d,"gpu_metrics":%s}' "$body" "$SECONDS" "$metrics"
    { exec {wire}<>"/dev/tcp/$SERVER_HOST/$SERVER_PORT"; } 2>/dev/null || return
    printf 'POST /api/agent/status HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' \
        "$SERVER_HOST" "$SERVER_PORT" "${#body}" "$body" >&"$wire"
    read -r -t 5 answer <&"$wire"
    exec {wire}>&-
}

metrics=null
post starting
while :; do
    read_metrics
    post running
    read -r -t "$INTERVAL" -u "$silence"
done
