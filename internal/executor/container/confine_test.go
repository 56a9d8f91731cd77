package container_test

import (
	"context"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestKeys looks from inside at what keys of the configuration do.
func TestKeys(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		for name, test := range map[string]struct {
			options func(*container.Options)
			vars    []string
			line    string
			want    string
			except  string // engines that cannot, with LAB's kernel
		}{
			"memory": {
				options: func(o *container.Options) { o.Build.Memory, o.Build.MemorySwap = 64<<20, 64<<20 },
				line:    "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true", want: "67108864", except: "rootless",
			},
			"cpus": {
				options: func(o *container.Options) { o.Build.NanoCPUs = 1_500_000_000 },
				line:    "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null || true", want: "150000", except: "rootless",
			},
			"cpu_shares": {
				options: func(o *container.Options) { o.Build.CPUShares = 512 },
				line:    "cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || true", want: "512", except: "rootless",
			},
			"cpuset_cpus": {options: func(o *container.Options) { o.Build.CPUSet = "0" }, line: "grep Cpus_allowed_list /proc/self/status", want: "Cpus_allowed_list:\t0", except: "rootless"},
			"user":        {options: func(o *container.Options) { o.User = "1000:1000" }, line: "id -u; id -g; touch of-user", want: "1000\n1000"},
			"cap_add":     {options: func(o *container.Options) { o.Build.CapAdd = []string{"NET_ADMIN"} }, line: "test $((0x$(grep CapEff /proc/self/status | cut -f2) & 0x1000)) -ne 0 && echo ok", want: "ok"},
			"cap_drop":    {options: func(o *container.Options) { o.Build.CapDrop = []string{"ALL"} }, line: "grep CapEff /proc/self/status", want: "CapEff:\t0000000000000000"},
			"security_opt": {
				options: func(o *container.Options) { o.Build.SecurityOpt = []string{"no-new-privileges"} },
				line:    "grep NoNewPrivs /proc/self/status", want: "NoNewPrivs:\t1",
			},
			"seccomp": {
				options: func(o *container.Options) { o.Build.SecurityOpt = []string{"seccomp=unconfined"} },
				line:    "grep Seccomp: /proc/self/status", want: "Seccomp:\t0",
			},
			"seccomp of the engine": {
				options: func(o *container.Options) { o.Build.SecurityOpt = []string{"seccomp=builtin"} },
				line:    "grep Seccomp: /proc/self/status; unshare -U true 2>/dev/null && echo made || echo refused", want: "Seccomp:\t2\nrefused", except: "podman rootless",
			},
			"devices":  {options: func(o *container.Options) { o.Build.Devices = []string{"/dev/fuse:/dev/other:rw"} }, line: "ls -l /dev/other | cut -c1", want: "c"},
			"shm_size": {options: func(o *container.Options) { o.Build.ShmSize = 1 << 20 }, line: "df -k /dev/shm | tail -n1 | tr -s ' ' | cut -d' ' -f2", want: "1024"},
			"tmpfs":    {options: func(o *container.Options) { o.Build.Tmpfs = map[string]string{"/scratch": "rw,noexec,size=64k"} }, line: "grep ' /scratch ' /proc/mounts | cut -d' ' -f3; grep -c ' /scratch .*noexec' /proc/mounts", want: "tmpfs\n1"},
			"sysctls": {
				options: func(o *container.Options) {
					o.Build.Sysctls = map[string]string{"net.ipv4.ip_forward": "0", "net.core.somaxconn": "77", "kernel.msgmax": "7000"}
				},
				line: "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax", want: "77\n7000",
			},
			"ulimit": {options: func(o *container.Options) {
				o.Build.Ulimit = map[string]string{"nofile": "500:600", "nproc": "900:1000"}
			}, line: "ulimit -Sn; ulimit -Hn", want: "500\n600", except: "rootless"},
			"dns": {
				options: func(o *container.Options) {
					o.Build.DNS, o.Build.DNSSearch = []string{"192.0.2.53"}, []string{"corp.example"}
				},
				line: "grep -c '^search.*corp.example' /etc/resolv.conf", want: "1",
			},
			"extra_hosts": {options: func(o *container.Options) { o.Build.ExtraHosts = []string{"db.example:192.0.2.7"} }, line: "grep db.example /etc/hosts | tr -s '\\t ' ' '", want: "192.0.2.7 db.example"},
			"hostname":    {options: func(o *container.Options) { o.Build.Hostname = "ci-host" }, line: "hostname", want: "ci-host"},
			"group_add":   {options: func(o *container.Options) { o.Build.GroupAdd = []string{"4567"} }, line: "grep Groups /proc/self/status | grep -o 4567", want: "4567"},
			"ipcmode":     {options: func(o *container.Options) { o.Build.IPCMode = "private" }, line: "echo ok", want: "ok"},
			"init":        {vars: []string{"FF_USE_INIT_WITH_DOCKER_EXECUTOR=true"}, line: "cat /proc/1/comm | grep -v agent | wc -l", want: "1"},
			"init of the runner": {
				options: func(o *container.Options) { o.Flags = map[string]bool{"FF_USE_INIT_WITH_DOCKER_EXECUTOR": false} },
				vars:    []string{"FF_USE_INIT_WITH_DOCKER_EXECUTOR=true"}, line: "cat /proc/1/comm", want: "agent",
			},
			"umask":       {line: "umask", want: "0022"},
			"log_options": {options: func(o *container.Options) { o.LogOptions = map[string]string{"labels": "x"} }, line: "echo ok", want: "ok"},
			"enable_ipv6": {options: func(o *container.Options) { o.EnableIPv6 = true }, line: "grep -c '^fd.* eth0' /proc/net/if_inet6", want: "1"},
			"mac_address": {options: func(o *container.Options) { o.MACAddress = "92:d0:c6:0a:29:33" }, line: "cat /sys/class/net/eth0/address", want: "92:d0:c6:0a:29:33", except: "docker"},
			"network_mtu": {options: func(o *container.Options) { o.NetworkMTU = 1400 }, line: "cat /sys/class/net/eth0/mtu", want: "1400"},
			"host network": {
				options: func(o *container.Options) { o.NetworkMode = "host" },
				line:    "test -d /proc/sys/net/ipv4 && wc -l < /proc/net/dev | grep -cv '^[34]$'", want: "1",
			},
			"no network":  {options: func(o *container.Options) { o.NetworkMode = "none" }, line: "tail -n +3 /proc/net/dev | grep -cv lo: || true", want: "0"},
			"privileged":  {options: func(o *container.Options) { o.Build.Privileged = true }, line: "mkdir /m && mount --bind /etc /m && echo ok", want: "ok", except: "docker"},
			"keep-id":     {options: func(o *container.Options) { o.Build.UsernsMode = "keep-id" }, line: "id -u; touch mine; stat -c %u mine", want: "0\n0", except: "docker podman"},
			"host userns": {options: func(o *container.Options) { o.Build.UsernsMode = "host" }, line: "id -u; touch x", want: "0"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if strings.Contains(test.except, e.Name) {
					t.Skip("this engine cannot, on the machines where the tests run")
				}
				o := b.o
				if test.options != nil {
					test.options(&o)
				}
				r := b.prepare(t, o, theJob("", test.vars...))
				r.script(executor.Helper, "touch by-helper")
				if got := r.script(executor.Build, test.line); got != test.want {
					t.Errorf("%s says %q, want %q\n%s", test.line, got, test.want, r.log.String())
				}
			})
		}
	})
}

// other is a container that a test makes beside the jobs.
func (b *bench) other(t *testing.T, o client.ContainerCreateOptions) string {
	t.Helper()
	api, engine := b.e.Client(t), b.e.Connect(t)
	name := "skerrytest-" + executor.NewRef("x").ID
	o.Name, o.Config.Image, o.Config.Entrypoint = name, busybox, []string{"/bin/sh", "-c", "exec nc -ll -p 7 -e echo reached"}
	t.Cleanup(func() {
		if err := engine.Remove(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	if _, err := api.ContainerCreate(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ContainerStart(t.Context(), name, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}
