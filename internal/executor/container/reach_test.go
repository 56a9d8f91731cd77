package container_test

import (
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// foreign lists what a place should not have, a line each: mounts that are not the job's or the engine's own,
// devices that say something about the machine, sockets, files of another job, rights over machine and kernel (SYS_ADMIN,
// NET_ADMIN, SYS_PTRACE, DAC_READ_SEARCH and their like).
const foreign = `
cut -d' ' -f5,6 /proc/self/mountinfo | while read -r at how; do
  case $at in
    /|/.skerry/bin|/.skerry/state|/builds|/cache|/etc/hostname|/etc/hosts|/etc/resolv.conf|/run/.containerenv|/run/secrets) ;;
    /dev|/dev/*|/proc|/proc/*|/sys|/sys/*) ;;
    *) echo "mounted: $at" ;;
  esac
  case $at:$how in /.skerry/bin:rw*|/proc/sys:rw*|/sys:rw*) echo "writable: $at" ;; esac
done
find / -xdev -type s 2>/dev/null | sed 's/^/socket: /'
ls -d /var/run/*docker* /run/*docker* /run/podman* /var/run/podman* 2>/dev/null
find /dev -type b 2>/dev/null | sed 's/^/block device: /'
find /dev -type c 2>/dev/null | grep -vE '^/dev/(console|full|null|ptmx|random|tty|urandom|zero|pts/.*)$' | sed 's/^/device: /'
find / \( -path /proc -o -path /sys \) -prune -o -name 'of-the-other*' -print 2>/dev/null
test $((0x$(grep CapEff /proc/self/status | cut -f2) & 0x1c7026b1204)) -eq 0 || grep CapEff /proc/self/status
grep -q 'Seccomp:.*2' /proc/self/status || grep Seccomp: /proc/self/status
touch /.skerry/bin/x 2>/dev/null && echo "the agent's directory can be written"
grep -l of-the-other /proc/*/environ 2>/dev/null
true`

// TestNothingOfTheHost looks from a job, with nothing configured, for what it should not reach: the engine's socket,
// devices, the files, agents and networks of another job that runs beside it.
func TestNothingOfTheHost(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		otherJob := theJob("", "NAME=of-the-other")
		otherJob.ProjectID = 99
		otherJob.Services = []job.Image{{Name: busybox, Alias: "web", Entrypoint: []string{"nc", "-ll", "-p", "8081", "-e", "echo"}, Command: []string{"service"}}}
		other := b.prepare(t, b.o, otherJob)
		other.script(executor.Helper, "touch /cache/of-the-other-1 of-the-other-2 /.skerry/state/of-the-other-3")
		other.script(executor.Build, "touch /builds/of-the-other-4 /tmp/of-the-other-5 /dev/shm/of-the-other-6 /.skerry/state/of-the-other-7")
		out, res := other.stage(executor.Build, stage.Spec{Dir: "/builds/group/project", Base: "/builds", Leave: true, Script: &stage.Script{Umask: -1, Lines: []string{
			"nc -ll -p 8080 -e echo listening >/dev/null 2>&1 &",
			"until timeout 5 nc 127.0.0.1 8080 </dev/null | grep listening; do sleep 0.2; done",
			"until timeout 5 nc web 8081 </dev/null | grep service; do sleep 0.2; done", "hostname -i",
			"ip -o -4 addr show eth0 | tr -s ' ' | cut -d' ' -f4 | sed 's,/.*,,;s,^,address ,'; grep web /etc/hosts | sed 's/[ \t].*//;s/^/address /'",
		}}})
		if res.Reason != stage.Success || !strings.Contains(out, "\nlistening") || !strings.Contains(out, "\nservice") {
			t.Fatalf("the other job does not listen: %+v\n%s", res, out)
		}
		_, out, _ = strings.Cut(out, "hostname -i")
		r := b.prepare(t, b.o, theJob(""))
		for _, place := range []executor.Place{executor.Build, executor.Helper} {
			if got := r.script(place, "sh -c '"+strings.ReplaceAll(foreign, "'", `'\''`)+"' 2>&1 | cat"); got != "" {
				t.Errorf("the %s place has\n%s", place, got)
			}
		}
		addresses := 0
		for line := range strings.Lines(out) {
			address, ok := strings.CutPrefix(strings.TrimSpace(line), "address ")
			if !ok {
				continue
			}
			addresses++
			if got := r.script(executor.Build, "for p in 8080 8081; do timeout 5 nc -w 2 "+address+" $p </dev/null 2>/dev/null || true; done"); got != "" {
				t.Errorf("at %s of the other job: %q", address, got)
			}
		}
		if addresses == 0 {
			t.Errorf("no address of the other job is known: %s", out)
		}
		// The engines' own walls are gone for moments: what was tried above does not show that.
		if got := r.script(executor.Build, "ip route"); !strings.Contains(got, "unreachable 10.213.0.0/16") {
			t.Errorf("the job has routes to other jobs' networks:\n%s", got)
		}
	})
}
