#!/usr/bin/env bash
# A real Slurm cluster of two nodes, both of them this machine, for the integration tests (Debian's slurm-wlm and munge,
# which allows several slurmd). Needs root.
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
case $verb in
up)
  mkdir -p "$state/state" "$state/spool/one" "$state/spool/two" /run/munge
  chown munge: /run/munge
  if [ ! -s /etc/munge/munge.key ]; then
    install -o munge -g munge -m 400 <(head -c 1024 /dev/urandom) /etc/munge/munge.key
  fi
  host=$(hostname -s) cpus=$(nproc)
  # More CPUs than there are, so that the tests' small jobs find room on a small machine.
  [ "$cpus" -ge 4 ] || cpus=4
  cat >"$conf" <<CONF
ClusterName=integration
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
AuthType=auth/munge
AuthInfo=cred_expire=5
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
NodeName=one NodeHostname=$host NodeAddr=127.0.0.1 Port=26818 CPUs=$cpus RealMemory=4000 State=UNKNOWN
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=26819 CPUs=$cpus RealMemory=4000 State=UNKNOWN
PartitionName=normal Nodes=one,two Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=one,two Default=NO MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
  if ! pgrep -x munged >/dev/null; then
    munged --force --pid-file="$state/munged.pid" 2>/dev/null
  fi
  export SLURM_CONF=$conf
  slurmctld -f "$conf"
  for node in one two; do slurmd -N "$node" -f "$conf"; done
  ready() { [ "$(sinfo -h -N -p normal -o %T 2>/dev/null | grep -c idle)" = 2 ]; }
  for _ in $(seq 60); do ready && break; sleep 0.5; done
  ready || { for log in "$state"/*.log; do tail -n 20 "$log" >&2; done; exit 1; }
  echo "SLURM_CONF=$conf"
  ;;
down)
  export SLURM_CONF=$conf
  scancel --full --signal=KILL --user=root 2>/dev/null || true
  scancel --user=root 2>/dev/null || true
  for name in slurmd_one slurmd_two slurmctld munged; do stop "$state/$name.pid"; done
  ;;
*) echo "usage: slurm_cluster.sh up|down STATE_DIR" >&2; exit 2 ;;
esac
