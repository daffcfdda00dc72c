# Argument: STOP or CONT. Halts everything that could change a file, or lets it go on: all processes of the machine but
# its first one, the SSH servers, the Dumont agent and this script itself.
agent=$(cat /run/dumont-agent.pid 2>/dev/null)
for round in 1 2 3; do # what was not halted yet may have started others meanwhile
    for folder in /proc/[0-9]*; do
        pid=${folder#/proc/}
        case $pid in 1 | "$$" | "$PPID" | "$agent") continue ;; esac
        read -r name 2>/dev/null <"$folder/comm" || continue
        case $name in sshd*) continue ;; esac
        kill -s "$1" "$pid" 2>/dev/null
    done
done
true
