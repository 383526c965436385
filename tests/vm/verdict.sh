# What a guest says on its console. Read by others, not run.
#
# Every line for the other side begins with `PICKET-VM`; the last is `PICKET-VM verdict passed=N failed=N skipped=N`.

passed=0 failed=0 skipped=0

say() {
    echo "PICKET-VM $*"
}

# told RESULT NAME: counts one result
told() {
    case $1 in
    passed) passed=$((passed + 1)) ;;
    failed) failed=$((failed + 1)) ;;
    skipped) skipped=$((skipped + 1)) ;;
    esac
    say "$1" "$2" "${3:-}"
}

# argument NAME DEFAULT: what the kernel's command line says
argument() {
    for word in $(cat /proc/cmdline); do
        case $word in
        "picket.$1="*) echo "${word#*=}" && return ;;
        esac
    done
    echo "$2"
}

# The last word, and the end of the machine.
verdict() {
    say "verdict passed=$passed failed=$failed skipped=$skipped"
    poweroff -f
}
