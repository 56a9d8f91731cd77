package container_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
)

// grasp is what a container of a job's engine tries that was given all that the engine has; it prints what it got hold of.
const grasp = `opens() { test -e $1 && { busybox true >> $1; } 2>/dev/null && echo $1; } # busybox's test -w asks nobody when root asks
busybox mkdir -p /tmp/m
busybox ps -o args | busybox grep -q "[o]f-a-job" && echo processes of the job
busybox grep -q "bin/agent.nested" /proc/1/cmdline || echo processes beyond the engine
{ busybox cat /proc/1/environ || busybox cat /proc/1/maps || busybox ls /proc/1/root/ || busybox nsenter -t 1 -m busybox true || busybox dd if=/proc/1/mem count=1; } >/dev/null 2>&1 && echo the memory of the agent
cd /host/.skerry && echo *
for f in etc/passwd etc/subuid usr/bin/podman .skerry/bin/agent proc/sys/kernel/core_pattern proc/sysrq-trigger sys/kernel/uevent_helper; do
	opens /host/$f
done
{ busybox true > /host/escaped; } 2>/dev/null && echo the root directory
busybox mknod /tmp/disk b 8 0 2>/dev/null && echo devices
for d in /host/dev/*; do test -b $d && echo $d; done
for d in kvm mem kmsg port fuse vsock vhost-vsock sda vda nvme0; do test -e /host/dev/$d && echo $d; done
busybox find /host/sys/fs/cgroup -type f '(' -name cgroup.procs -o -name release_agent -o -name '*.max' -o -name '*.limit_in_bytes' ')' 2>/dev/null | while read f; do opens $f; done
for kind in cgroup2 cgroup proc sysfs; do
	busybox mount -t $kind none /tmp/m 2>/dev/null || continue
	for f in cgroup.procs release_agent pids.max memory.max sys/kernel/core_pattern sysrq-trigger kernel/uevent_helper; do opens /tmp/m/$f; done
	busybox umount /tmp/m
done
busybox hostname escaped 2>/dev/null && echo the host name
busybox ip link add escaped type dummy 2>/dev/null && echo the network
busybox wget -q -T 3 -O /dev/null http://$OTHER:8099/busybox 2>/dev/null && echo another job
busybox chroot /host perl -e 'for my $high (0, 1 << 32) { print "the hypervisor\n" if 0 <= syscall(41, $high | 40, 1, 0) }' 2>/dev/null
true`

// fromTar is fromBusybox without what a build takes.
const fromTar = `mkdir -p /tmp/box/bin && cp /bin/busybox /tmp/box/bin && tar -C /tmp/box -cf /tmp/box.tar . && podman --remote import -q /tmp/box.tar box >/dev/null`

// testNestedConfined has a job reach for everything from its containers: it gets hold of nothing but its own.
func testNestedConfined(t *testing.T, r, other *run) {
	t.Helper()
	at := other.script(executor.Build, fromTar+` && podman --remote run -d --name web --network host box /bin/busybox httpd -f -p 8099 -h /bin >/dev/null && `+
		`until busybox wget -q -O /dev/null http://localhost:8099/busybox 2>/dev/null; do busybox sleep 0.1; done; `+
		`busybox ip -4 addr | busybox awk '/inet / && $2 !~ /^127/ {split($2, a, "/"); print a[1]; exit}'`)
	if at == "" {
		t.Fatal("the other job has no address")
	}
	r.script(executor.Build, "printf %s '"+base64.StdEncoding.EncodeToString([]byte(grasp))+"' | base64 -d > grasp")
	for what, c := range map[string]struct{ line, want string }{
		"all at once": {
			`(exec -a of-a-job sleep 100) & podman --remote run --rm --privileged --pid=host --network=host --ipc=host --uts=host --cgroupns=host --userns=host ` +
				`-e OTHER=` + at + ` -v /:/host -v $PWD/grasp:/grasp box sh /grasp`, "bin nested",
		},
		"what is not there": {
			`for o in "--device /dev/mem" "--device /dev/kvm" "--device /dev/fuse" "--device /dev/kmsg" "--volumes-from skerry-` + other.ref.ID + `-build" "--pid container:skerry-` + other.ref.ID + `-build"; do ` +
				`podman --remote run --rm $o box busybox true 2>/dev/null && echo "$o"; done; echo end`, "end",
		},
	} {
		if got := r.script(executor.Build, c.line); got != c.want {
			t.Errorf("%s: a job's containers have %q, want %q", what, got, c.want)
		}
	}
	got := other.script(executor.Build, `podman --remote ps -a --format '{{.Names}}'; podman --remote images -q | wc -l; podman --remote network ls -q; find / -xdev -name podman.sock -type s 2>/dev/null || true`)
	if got != "web\n1\npodman" { // the default network
		t.Errorf("another job's engine has %q", got)
	}
}

// testNestedBounded has containers make more processes than their job may have.
func testNestedBounded(t *testing.T, r *run, bounded bool) {
	t.Helper()
	got := r.script(executor.Build, `podman --remote run --rm box /bin/busybox sh -c 'i=0; while [ $i -lt 600 ]; do /bin/busybox sleep 100 & i=$((i+1)); done' >/dev/null 2>&1 || echo bounded; podman --remote run --rm box /bin/busybox echo goes on`)
	if want := map[bool]string{true: "bounded\ngoes on", false: "goes on"}[bounded]; got != want {
		t.Errorf("with 600 processes: %q, want %q", got, want)
	}
}

// testNestedFrom has volumes_from lend what the engine's programs are in: only the engine outside knows.
func testNestedFrom(t *testing.T, b *bench, image string) {
	t.Helper()
	api, name := b.e.Client(t), "skerry-test-"+executor.NewRef("x").ID
	t.Cleanup(func() {
		_, _ = api.ContainerRemove(context.Background(), name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	})
	if _, err := api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: name, Config: &apicontainer.Config{Image: image}, HostConfig: &apicontainer.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeVolume, Target: "/usr/local/bin"}}},
	}); err != nil {
		t.Fatal(err)
	}
	o := b.o
	o.VolumesFrom = []string{name}
	r := b.prepare(t, o, theJob(image))
	if _, _, err := r.dial(executor.Build); err == nil || !strings.Contains(err.Error(), "volumes_from") || !strings.Contains(err.Error(), "/usr/local/bin") {
		t.Errorf("a job can write to the programs of the next one's engine: %v", err)
	}
}
