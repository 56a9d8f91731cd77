package e2e

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/image"
	"gitlab.com/skerry/skerry/internal/image/saved"
)

const (
	engineImage = "skerry.test/runner-engine:latest" // of engines of jobs
	nestedTag   = "engine-of-its-own"
)

// withNested has the last of a configuration's runners, which has a token of its own then, give jobs engines of their own.
func withNested(config, token string) string {
	at := strings.LastIndex(config, "[[runners]]")
	var out strings.Builder
	out.WriteString(config[:at])
	for line := range strings.Lines(config[at:]) {
		switch key, _, _ := strings.Cut(strings.TrimSpace(line), " "); key {
		case "token":
			line = "token = " + strconv.Quote(token) + "\n"
		case "privileged":
			line = "privileged = false\n"
		case "volumes":
			line = `volumes = ["/usr:/usr:ro", "/cache"]` + "\n"
		case "[runners.docker]":
			line += "nested = \"podman\"\nnested_image = \"" + engineImage + "\"\n"
		}
		out.WriteString(line)
	}
	return out.String()
}

// loadEngine gives the engine in the container the image of jobs' own: as `skerry image build podman` makes it, of one whose programs are
// those of the container.
func (r *inContainer) loadEngine() {
	r.t.Helper()
	var base, made bytes.Buffer
	files := map[string]string{}
	for _, name := range []string{"podman", "newuidmap", "newgidmap", "crun"} {
		files["/usr/bin/"+name] = ""
	}
	err := enginetest.Archive(&base, enginetest.Image{
		Name: "skerry.test/runner-engine-base:latest", Files: files, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Links: map[string]string{"/lib": "usr/lib", "/lib64": "usr/lib64", "/var/tmp": "/tmp"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := saved.Open(bytes.NewReader(base.Bytes()), int64(base.Len()))
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := image.Podman(b, "skerry.test/runner-engine-base", engineImage)
	if err == nil {
		err = b.Write(&made, d.Change)
	}
	if err == nil {
		_, err = r.engine(&made, "load")
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// addNested queues a job with an engine of its own.
func (r *inContainer) addNested(script ...string) int64 {
	r.t.Helper()
	script = append([]string{"export PATH=$PATH:/usr/bin:/usr/sbin", "mkdir -p r/bin && cp /bin/busybox r/bin/ && tar -C r -cf r.tar . && podman --remote import -q r.tar box"}, script...)
	id, err := r.co.AddJob(r.t.Context(), gitlabtest.JobSpec{Project: "group/project", Tags: []string{nestedTag}, Script: script})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// grasps is what a container tries that was given all of its job's engine; it prints what it got hold of, and first what is its own.
const grasps = `PATH=/bin:/usr/bin; export PATH; alias b=/bin/busybox
b cat /proc/self/uid_map | while read a at n; do echo map $a $at $n; done
b ls /all/.skerry
b chroot /all podman --url unix:///run/podman/podman.sock ps --format "{{.Names}}"
for f in run/secrets/config.toml home/runner ` + image.RunnerState + `; do b test -e /all/$f && echo there: $f; done
b ps -o args | b grep -e "[s]upervise" -e "[s]kerry run" -e "[h]ttpd"
for f in etc/subuid etc/subgid etc/passwd usr/bin/podman .skerry/bin/agent; do { b true >> /all/$f; } 2>/dev/null && echo writes $f; done
b kill -0 1 2>/dev/null || echo no engine
{ b cat /proc/1/environ || b nsenter -t 1 -m /bin/busybox true; } >/dev/null 2>&1 && echo the memory of the agent
b wget -q -T 3 -O- http://$OTHER:8099/README 2>/dev/null && echo another job
true`

// nestedJob has a job build, connect and reach containers by an engine of its own, and these reach for all else, among it a job at other.
func (r *inContainer) nestedJob(other string) {
	t := r.t
	t.Helper()
	j, log := r.wait(r.addNested(
		`printf 'FROM box\nRUN ["/bin/busybox", "touch", "/made"]\n' > r/Containerfile && podman --remote build -q -t built r`,
		"podman --remote network create pair", "podman --remote run -d --network pair --name web -p 8080:80 -v $PWD:/src box /bin/busybox httpd -f -p 80 -h /src",
		"podman --remote run --rm --network pair built /bin/busybox sh -c '/bin/busybox ls /made; until /bin/busybox wget -q -O- http://web/README; do /bin/busybox sleep 0.1; done'",
		"wget -q -O- http://docker:8080/README",
		"podman --remote rm -f -t 0 web", "echo the end of them",
		"podman --remote run --rm --name all --privileged --network host --pid host --ipc host --uts host -e OTHER="+other+" -v /:/all box /bin/busybox sh -c '"+grasps+"'",
		"echo the end of all",
	))
	want(t, j, log, gitlabtest.StatusSuccess, "")
	contains(t, log, "01O /made")
	if n := strings.Count(log, "01O hello"); n != 2 {
		t.Errorf("%d of 2 ways lead to a nested container", n)
	}
	_, log, _ = strings.Cut(log, "01O the end of them\n")
	log, _, _ = strings.Cut(log, "01O the end of all\n")
	var got []string
	for line := range strings.Lines(log) {
		if _, said, ok := strings.Cut(line, " 01O "); ok && !strings.Contains(said, "$ ") {
			got = append(got, strings.TrimSpace(said))
		}
	}
	if diff := cmp.Diff([]string{"map 0 1000 1", "map 1 1 999", "map 1000 1001 64535", "bin", "nested", "all"}, got); diff != "" {
		t.Errorf("what containers of a job's engine have in the runner's image (-want +got):\n%s", diff)
	}
}

// othersAddress is that of the one job that runs, and has an engine of its own. Its containers have made files: none may belong to
// root, the engine or the runner of the container.
func (r *inContainer) othersAddress() string {
	t := r.t
	t.Helper()
	owners := r.run("", "exec", "pipglr", "sh", "-c", `find `+image.NestedStore+`/storage/volumes -name "owned-*" -exec stat -c "%n %u:%g" {} + | sed 's/.*owned-//' | sort -n`)
	if diff := cmp.Diff("0 1002:1002\n1 1:1\n999 999:999\n1000 1003:1003\n1001 1004:1004\n60000 60003:60003\n", owners); diff != "" {
		t.Errorf("owners of files of nested containers' users in the container (-want +got):\n%s", diff)
	}
	names, err := r.engine(nil, "ps", "--format", "{{.Names}}")
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(names) {
		if !strings.HasSuffix(name, "-nested") {
			continue
		}
		out, err := r.engine(nil, "exec", name, "/bin/busybox", "ip", "-4", "-o", "addr")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if _, rest, ok := strings.Cut(line, " inet "); ok && !strings.HasPrefix(rest, "127.") {
				at := rest[:strings.IndexByte(rest, '/')]
				if out, err := r.engine(nil, "exec", name, "/bin/busybox", "wget", "-q", "-O-", "http://"+at+":8099/README"); err != nil || !strings.Contains(out, "hello") {
					t.Errorf("the job is not reached at its own address %s: %q, %v", at, out, err)
				}
				return at
			}
		}
		t.Fatalf("the job's engine has the addresses %s", out)
	}
	t.Fatalf("no job has an engine of its own: %s", names)
	return ""
}
