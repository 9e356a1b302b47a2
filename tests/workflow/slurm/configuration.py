"""The files that describe a private Slurm: one machine that plays several nodes with GPUs."""

import random
import socket
from collections.abc import Mapping
from pathlib import Path

CPUS = 64
GPUS = 8
NODE_LOST_AFTER = 10
"""Seconds without an answer until Slurm gives a node up: a busy machine's daemons must still answer in time."""

SLURM = """\
ClusterName=seekmake
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
AuthType=auth/munge
# A requeued job waits for as long as its old credential lives: two minutes, also where less than 5 seconds is asked.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
# Nothing here may need control groups, more cores than there are, or a mail program.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Without a default, a job that asks for no memory takes its node's whole memory.
DefMemPerCPU=1000
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
MinJobAge=3600
KillWait=5
SlurmdTimeout={lost}
MessageTimeout=5
TCPTimeout=2
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE State=UP DefaultTime=60
PartitionName=cpu PriorityTier=10 PreemptMode=OFF Default=YES
PartitionName=gpu PriorityTier=10 PreemptMode=OFF
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high PriorityTier=100 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
    "SocketsPerBoard=2 CoresPerSocket={cores} ThreadsPerCore=1 RealMemory=1000000 Gres=gpu:{gpus} State=UNKNOWN\n"
)


def write_configuration(folder: Path, nodes: list[str]) -> Path:
    """Write all that the daemons read, and return the path of slurm.conf."""
    controller, *ports = free_ports(1 + len(nodes))
    for name in ("state", "logs", "munge", "devices", *(f"spool/{node}" for node in nodes)):
        (folder / name).mkdir(parents=True)
    key = folder / "munge" / "key"
    key.touch(mode=0o600)  # munged refuses a key that others can read
    key.write_bytes(random.randbytes(1024))
    _write_devices(folder)
    path = folder / "slurm.conf"
    path.write_text(_slurm(folder, controller, dict(zip(nodes, ports, strict=True))))
    return path


def _slurm(folder: Path, controller: int, nodes: Mapping[str, int]) -> str:
    host = socket.gethostname().partition(".")[0]
    general = SLURM.format(host=host, folder=folder, controller=controller, lost=NODE_LOST_AFTER)
    lines = [NODE.format(name=name, host=host, port=port, cores=CPUS // 2, gpus=GPUS) for name, port in nodes.items()]
    return "".join(lines) + general


def _write_devices(folder: Path) -> None:
    """Slurm counts device files and never opens one: plain files will do."""
    for number in range(GPUS):
        (folder / "devices" / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu Count={GPUS} File={folder}/devices/gpu[0-{GPUS - 1}]\n")
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that Linux hands out: a restarted daemon finds its own free."""
    ports = []
    for port in random.sample(range(20000, 32000), 1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
        if len(ports) == count:
            break
    return ports
