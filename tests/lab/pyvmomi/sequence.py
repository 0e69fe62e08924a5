"""One backup cycle against the lab's vCenter, by VMware's own Python client.

    sequence.py SDK_URL USER PASSWORD THUMBPRINT CONTROL_URL

The lab's vCenter and the appliance's client are written in one project, so they could agree on
a mistake. pyvmomi knows neither: what it understands is vSphere's SOAP, and what it does not is
not. The script prints one line per check and exits 0 only when all of them hold.

It leaves the site as it found it, but for change tracking (left on) and the bytes it wrote.
"""

import hashlib
import json
import os
import ssl
import sys
import urllib.parse
import urllib.request

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import SoapStubAdapter, vim, vmodl
from pyVmomi.Security import ThumbprintMismatchException

SECTOR = 512
DEFAULT_PAGE_AREAS = 2000
# Two places that share no sector; the second write starts and ends inside sectors.
WRITES = [(0, 4096), (1_000_003, 70_001)]


class CheckFailed(Exception):
    """A check did not hold; its text says which and why."""


def check(name, holds, found=""):
    """Print one line; stop at the first check that does not hold."""
    if not holds:
        raise CheckFailed(f"{name}: {found}")
    print(f"ok   {name}", flush=True)


def expect(name, fault, action):
    """The action has to end in exactly this fault."""
    try:
        result = action()
    except fault as raised:
        check(name, type(raised) is fault, type(raised))
        return raised
    raise CheckFailed(f"{name}: no {fault.__name__}, but {result!r}")


class Control:
    """The lab's control port."""

    def __init__(self, url):
        self.url = url

    def post(self, path, body=b"", **query):
        address = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, data=body, timeout=60) as answer:
            return json.load(answer)


def trusted_context(host, port, thumbprint):
    """A TLS context that trusts the one certificate with this thumbprint and nothing else."""
    pem = ssl.get_server_certificate((host, port), timeout=30)
    found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    check("certificate has the announced thumbprint", found == normal(thumbprint), found)
    return ssl.create_default_context(cadata=pem)


def normal(thumbprint):
    return thumbprint.replace(":", "").lower()


def refuse_wrong_thumbprint(host, port, thumbprint):
    digits = normal(thumbprint)
    wrong = digits[:-1] + ("0" if digits[-1] != "0" else "1")
    stub = SoapStubAdapter(host, port, version="vim.version.version9", thumbprint=wrong)
    instance = vim.ServiceInstance("ServiceInstance", stub)
    expect("wrong thumbprint is noticed", ThumbprintMismatchException, instance.RetrieveContent)


def objects(content, kind):
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    try:
        return list(view.view)
    finally:
        view.Destroy()


def check_storage(content):
    """Every host lists the LUN that the VMFS volume's extent names."""
    (datastore,) = objects(content, vim.Datastore)
    info = datastore.info
    check("datastore is VMFS 6", isinstance(info, vim.host.VmfsDatastoreInfo)
          and info.vmfs.majorVersion == 6 and datastore.summary.type == "VMFS", info)
    (extent,) = info.vmfs.extent
    check("extent names a naa device and a partition",
          extent.diskName.startswith("naa.") and extent.partition >= 1, extent)
    hosts = objects(content, vim.HostSystem)
    check("there are hosts", len(hosts) > 0)
    for host in hosts:
        luns = [lun for lun in host.config.storageDevice.scsiLun
                if isinstance(lun, vim.host.ScsiDisk) and lun.canonicalName == extent.diskName]
        check(f"{host.name} lists the LUN once, with a capacity",
              len(luns) == 1 and luns[0].capacity.block * luns[0].capacity.blockSize > 0, luns)
        (mount,) = host.config.fileSystemVolume.mountInfo
        check(f"{host.name} mounts the volume", mount.volume.uuid == info.vmfs.uuid, mount)
        bundle = host.configManager.firmwareSystem.BackupFirmwareConfiguration()
        check(f"{host.name} packs its configuration", "/downloads/" in bundle, bundle)


def read(content, obj, path):
    """One property, None when it is not set.

    Not by attribute: for that pyvmomi calls Fetch, and the simulator answers a Fetch of an unset
    property with the response of another method.
    """
    collector = vmodl.query.PropertyCollector
    spec = collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=obj)],
        propSet=[collector.PropertySpec(type=type(obj), pathSet=[path])])
    result = content.propertyCollector.RetrievePropertiesEx([spec], collector.RetrieveOptions())
    (found,) = result.objects
    if found.missingSet:
        raise CheckFailed(f"{path}: {found.missingSet}")
    return found.propSet[0].val if found.propSet else None


def disks_of(hardware):
    return [d for d in hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]


def check_machine(machine):
    backing = disks_of(machine.config.hardware)[0].backing
    check("machine is on, its tools run, tracking is supported",
          machine.runtime.powerState == "poweredOn"
          and machine.guest.toolsRunningStatus == "guestToolsRunning"
          and machine.capability.changeTrackingSupported, machine.runtime)
    check("disk has a FlatVer2 backing with a uuid and no parent",
          isinstance(backing, vim.vm.device.VirtualDisk.FlatVer2BackingInfo)
          and backing.uuid and backing.parent is None, backing)


def snapshot(content, machine, name):
    task = machine.CreateSnapshot_Task(
        name=name, description="by the lab", memory=False, quiesce=True)
    WaitForTask(task)
    made = task.info.result
    tree = read(content, machine, "snapshot").rootSnapshotList
    check(f"snapshot {name} is in the tree, quiesced",
          [(t.name, t.snapshot, t.quiesced) for t in tree] == [(name, made, True)], tree)
    return made


def remove(content, machine, made):
    WaitForTask(made.RemoveSnapshot_Task(removeChildren=False, consolidate=True))
    left = read(content, machine, "snapshot")
    check("snapshot is gone and nothing needs consolidation",
          left is None and machine.runtime.consolidationNeeded is False, left)
    backing = disks_of(machine.config.hardware)[0].backing
    check("the machine is back on its base disk", backing.parent is None, backing)


def areas(machine, made, disk, since):
    """All pages: (areas, number of pages)."""
    found, pages, start = [], 0, 0
    while start < disk.capacityInBytes:
        page = machine.QueryChangedDiskAreas(made, disk.key, start, since)
        if page.startOffset != start or page.length <= 0:
            raise CheckFailed(f"page at {start}: {page}")
        found += [(a.start, a.length) for a in page.changedArea]
        start, pages = page.startOffset + page.length, pages + 1
    check(f"pages since {since} end at the capacity", start == disk.capacityInBytes, start)
    ends = [0] + [s + n for s, n in found]
    check("areas ascend without overlap", all(e <= s for e, (s, _) in zip(ends, found)), found)
    return found, pages


def full_cycle(content, machine, control):
    """Snapshot, everything that is allocated, removal. Returns the first disk's change id."""
    made = snapshot(content, machine, "sequence-full")
    disk = disks_of(made.config.hardware)[0]
    check("the snapshot's disk has a change id", "/" in (disk.backing.changeId or ""), disk)
    live = disks_of(machine.config.hardware)[0].backing
    check("the running machine writes to a delta above the same file",
          live.parent.fileName == disk.backing.fileName, live)
    control.post("/cbt/page", areas=1)
    try:
        found, pages = areas(machine, made, disk, "*")
    finally:
        control.post("/cbt/page", areas=DEFAULT_PAGE_AREAS)
    check("everything allocated, an area a page", found and len(found) <= pages <= len(found) + 1,
          (pages, found))
    expect("a question at the capacity is InvalidArgument", vmodl.fault.InvalidArgument,
           lambda: machine.QueryChangedDiskAreas(made, disk.key, disk.capacityInBytes, "*"))
    remove(content, machine, made)
    return disk.backing.changeId


def incremental_cycle(content, machine, control, since):
    """Guest writes, snapshot, what changed since the full one, refusals, removal."""
    disk = disks_of(machine.config.hardware)[0]
    for offset, length in WRITES:
        control.post("/write", os.urandom(length), vm=machine.name, disk=disk.key, offset=offset)
    made = snapshot(content, machine, "sequence-incremental")
    control.post("/write", os.urandom(SECTOR), vm=machine.name, disk=disk.key, offset=10 * SECTOR)
    found, _ = areas(machine, made, disk, since)
    want = [widened(offset, length) for offset, length in WRITES]
    check("changed areas are what was written before the snapshot, and only that",
          found == want, (found, want))
    fault = expect("a change id of another epoch is FileFault", vim.fault.FileFault,
                   lambda: machine.QueryChangedDiskAreas(made, disk.key, 0, "00 11-22 33/1"))
    check("the fault names the disk's file", fault.file.endswith(".vmdk"), fault.file)
    control.post("/cbt/reset", vm=machine.name, disk=disk.key)
    expect("after a reset the old change id is FileFault", vim.fault.FileFault,
           lambda: machine.QueryChangedDiskAreas(made, disk.key, 0, since))
    remove(content, machine, made)


def widened(offset, length):
    start = offset // SECTOR * SECTOR
    return start, -(-(offset + length) // SECTOR) * SECTOR - start


def enable_tracking(machine):
    WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    check("change tracking is enabled", machine.config.changeTrackingEnabled is True)


def sequence(sdk, user, password, thumbprint, control):
    at = urllib.parse.urlsplit(sdk)
    refuse_wrong_thumbprint(at.hostname, at.port, thumbprint)
    context = trusted_context(at.hostname, at.port, thumbprint)

    def connect(secret):
        return SmartConnect(host=at.hostname, port=at.port, user=user, pwd=secret,
                            sslContext=context, thumbprint=thumbprint)

    expect("a wrong password is InvalidLogin", vim.fault.InvalidLogin,
           lambda: connect(password + "x"))
    service = connect(password)
    content = service.RetrieveContent()
    check("it is a vCenter with an API version",
          content.about.apiType == "VirtualCenter" and content.about.apiVersion, content.about)
    check_storage(content)
    machine = min(objects(content, vim.VirtualMachine), key=lambda vm: vm.name)
    check_machine(machine)
    enable_tracking(machine)
    since = full_cycle(content, machine, control)
    incremental_cycle(content, machine, control, since)
    Disconnect(service)
    expect("after logout the session is NotAuthenticated", vim.fault.NotAuthenticated,
           lambda: machine.QueryChangedDiskAreas(None, 2000, 0, "*"))


def main(arguments):
    if len(arguments) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    sdk, user, password, thumbprint, control = arguments
    try:
        sequence(sdk, user, password, thumbprint, Control(control))
    except CheckFailed as failed:
        print(f"FAIL {failed}", flush=True)
        return 1
    print("ok   all checks hold")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
