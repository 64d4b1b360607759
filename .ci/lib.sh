# Steps of .ci/run and .ci/nightly: functions called step_NAME, one after the other or in two rows side by side.
# Sourced, with the repository as the working directory. $work is a folder that goes when the script ends.

work=""
goes="" # what else goes then

begin() {
  work=$(mktemp -d)
  export PYTEST_DEBUG_TEMPROOT=$work
  : >"$work/times"
  trap finish EXIT
  trap 'exit 130' INT TERM
  export PIP_DISABLE_PIP_VERSION_CHECK=1 MPLBACKEND=Agg
  machine
}

# Ends what still runs, first as Ctrl-C does: tests then stop the daemons that they have started.
finish() {
  local status=$? row cluster
  trap - EXIT INT TERM
  for row in $(jobs -p); do kill -INT -- "-$row" 2>/dev/null || true; done
  for _ in $(seq 150); do
    [ -n "$(jobs -rp)" ] || break
    sleep 0.2
  done
  for row in $(jobs -p); do kill -KILL -- "-$row" 2>/dev/null || true; done
  for cluster in "$work"/pytest-of-*/pytest-*/slurm* "$work"/pytest-of-*/pytest-*/*/slurm*; do
    [ ! -e "$cluster/slurm.conf" ] || tests/integration/slurm_cluster.sh down "$cluster" || true
  done
  rm -rf "$work" ${goes:+"$goes"}
  exit "$status"
}

# Slurm, tmux, a browser and Mesa for the tests that need them.
machine() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  local missing="" pair
  for pair in slurmctld:slurm-wlm munged:munge tmux:tmux chromium:chromium; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
  done
  ldconfig -p | grep -q libEGL.so.1 || missing="$missing libegl1 libgl1-mesa-dri"
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing; } >"$work/apt.log" 2>&1 ||
    { tail -n 5 "$work/apt.log"; echo "not installed:$missing; the tests that need them are skipped"; }
}

# The steps of one row, one after the other. Called plainly: behind || or in a condition, -e would not hold in a step.
row() {
  local step began
  for step in $1; do
    printf '\n== %s\n' "$step"
    began=$SECONDS
    ("step_$step")
    echo "$step $((SECONDS - began))" | tee -a "$work/times" | sed 's/$/ s/'
  done
}

alone() { side_by_side "$1"; }

# Each argument is a row; several are shown one after the other. All of them end before a failure ends the script.
side_by_side() {
  local number=0 failed=0 pids=() this
  set -m # a process group for each
  for this in "$@"; do
    if [ $# = 1 ]; then
      row "$this" </dev/null &
    else
      row "$this" </dev/null >"$work/row$number.log" 2>&1 &
    fi
    pids+=($!)
    number=$((number + 1))
  done
  set +m
  for number in "${!pids[@]}"; do
    wait "${pids[$number]}" || failed=1
    [ $# = 1 ] || cat "$work/row$number.log"
  done
  return "$failed"
}

summary() {
  printf '\n== all steps hold; seconds of each\n'
  cat "$work/times"
  echo "together $SECONDS"
}
