#!/usr/bin/env bash
# A real Slurm cluster of two nodes, both of them this machine, for the integration tests (Debian's slurm-wlm and munge,
# which allows several slurmd). Needs root. Several clusters may run at once: each has ports and a munged of its own.
#   slurm_cluster.sh up STATE_DIR     starts munged, slurmctld and slurmd, prints SLURM_CONF=...
#   slurm_cluster.sh down STATE_DIR   stops what `up` started
# Two partitions share the nodes: a job in `urgent` preempts one in `normal`, which Slurm then queues again.
set -euo pipefail
verb=${1:?up or down} state=${2:?a directory of its own}
conf=$state/slurm.conf
stop() { # PID_FILE: end the process and wait for it
  [ -s "$1" ] || return 0
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
}
free_ports() { # three ports below those that the system gives out
  python3 - <<'PY'
import os, random, socket

first, kept = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0]), []
ports = random.Random(os.getpid()).sample(range(10000, max(first, 20000)), 1000)
while len(kept) < 3:
    one = socket.socket()
    try:
        one.bind(("", ports.pop()))
        kept.append(one)
    except OSError:
        pass
print(*(one.getsockname()[1] for one in kept))
PY
}
case $verb in
up)
  exec 9>"${TMPDIR:-/tmp}/mimickit_slurm_cluster.lock" # one after the other: the ports of one are taken when it is up
  flock 9
  munge=$(mktemp -d /tmp/munge.XXXXXX) # a socket's path has to be short
  mkdir -p "$state/state" "$state/spool/one" "$state/spool/two"
  ln -s "$munge" "$state/munge"
  chmod 755 "$munge"
  (umask 077 && head -c 1024 /dev/urandom >"$munge/key")
  munged --force --socket="$munge/socket" --key-file="$munge/key" --pid-file="$munge/pid" --log-file="$munge/log" \
    --seed-file="$munge/seed" 9>&- 2>"$munge/said" || { cat "$munge/said" >&2; exit 1; }
  read -r port_ctld port_one port_two <<<"$(free_ports)"
  host=$(hostname -s) cpus=$(nproc)
  # More CPUs than there are, so that the tests' small jobs find room on a small machine.
  [ "$cpus" -ge 4 ] || cpus=4
  cat >"$conf" <<CONF
ClusterName=integration
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port_ctld
AuthType=auth/munge
AuthInfo=socket=$munge/socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$state/state
SlurmdSpoolDir=$state/spool/%n
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd_%n.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd_%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
ReturnToService=2
NodeName=one NodeHostname=$host NodeAddr=127.0.0.1 Port=$port_one CPUs=$cpus RealMemory=4000 State=UNKNOWN
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=$port_two CPUs=$cpus RealMemory=4000 State=UNKNOWN
PartitionName=normal Nodes=one,two Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=one,two Default=NO MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
  export SLURM_CONF=$conf
  slurmctld -f "$conf" 9>&-
  for node in one two; do slurmd -N "$node" -f "$conf" 9>&-; done
  ready() { [ "$(sinfo -h -N -p normal -o %T 2>/dev/null | grep -c idle)" = 2 ]; }
  for _ in $(seq 120); do ready && break; sleep 0.5; done
  ready || { for log in "$state"/*.log "$munge/log"; do tail -n 20 "$log" >&2; done; exit 1; }
  echo "SLURM_CONF=$conf"
  ;;
down)
  export SLURM_CONF=$conf
  scancel --full --signal=KILL --user=root 2>/dev/null || true
  scancel --user=root 2>/dev/null || true
  for pid_file in slurmd_one.pid slurmd_two.pid slurmctld.pid munge/pid; do stop "$state/$pid_file"; done
  rm -rf "$(readlink "$state/munge")"
  ;;
*) echo "usage: slurm_cluster.sh up|down STATE_DIR" >&2; exit 2 ;;
esac
