package container_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

var removal = client.ImageRemoveOptions{Force: true}

// TestEntrypoints runs a script in images whose entrypoints do what those of people do.
func TestEntrypoints(t *testing.T) {
	t.Parallel()
	const entry = "/entry.sh"
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		for name, test := range map[string]struct {
			image enginetest.Image
			of    []string // the job's own entrypoint
			user  string
			want  string // of `id -u`
			says  string // in the log before the script
		}{
			"none":             {want: "0"},
			"exec":             {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\nexec \"$@\"\n"}, Entrypoint: []string{entry}}, want: "0"},
			"child":            {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\n\"$@\"\n"}, Entrypoint: []string{entry}}, want: "0"},
			"clean":            {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\nexec env -i PATH=/bin \"$@\"\n"}, Entrypoint: []string{entry}}, want: "0"},
			"elsewhere":        {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\ncd /tmp\nexec \"$@\" </dev/null\n"}, Entrypoint: []string{entry}}, want: "0"},
			"banner":           {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\necho Welcome\necho twice >&2\nexec \"$@\"\n"}, Entrypoint: []string{entry}}, want: "0", says: "Welcome"},
			"slow":             {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\nsleep 10\nexec \"$@\"\n"}, Entrypoint: []string{entry}}, want: "0"},
			"su":               {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\nexec su job -c 'exec \"$0\" \"$@\"' -- \"$@\"\n"}, Entrypoint: []string{entry}}, want: "1000"},
			"setpriv":          {image: enginetest.Image{Files: hostProgram(t, "setpriv")}, of: []string{"/usr/bin/setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--"}, want: "1000"},
			"ends with -c":     {image: enginetest.Image{Entrypoint: []string{"/bin/sh", "-c"}}, want: "0"},
			"shell":            {image: enginetest.Image{Entrypoint: []string{"/bin/sh"}}, want: "0"},
			"looks at $1":      {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\ncase $1 in sh|bash) exec \"$@\";; esac\nexec false\n"}, Entrypoint: []string{entry}}, want: "0"},
			"user of image":    {image: enginetest.Image{User: "job", Files: map[string]string{entry: "#!/bin/sh\nexec \"$@\"\n"}, Entrypoint: []string{entry}}, want: "1000"},
			"overwritten":      {image: enginetest.Image{Entrypoint: []string{"/bin/false"}}, of: []string{""}, want: "0"},
			"of the job":       {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\nexec \"$@\"\n"}}, of: []string{entry}, want: "0"},
			"number":           {user: "4242:4242", want: "4242"},
			"user without -c":  {user: "job", want: "1000"},
			"init and reaping": {image: enginetest.Image{Files: map[string]string{entry: "#!/bin/sh\n(sleep 0.1 &)\n\"$@\" &\nwait\n"}, Entrypoint: []string{entry}}, want: "0"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				j := theJob(image(t, e, test.image))
				j.Image.Entrypoint, j.Image.User = test.of, test.user
				r := b.prepare(t, b.o, j)
				r.script(executor.Helper, "true") // makes the project directory
				if uid := r.script(executor.Build, "id -u"); uid != test.want {
					t.Errorf("uid is %q, want %s", uid, test.want)
				}
				r.script(executor.Build, "echo x > file && mkdir dir && rm -r file dir")
				if log := r.log.String(); !strings.Contains(log, test.says) {
					t.Errorf("the log has no %q:\n%s", test.says, log)
				}
			})
		}
	})
}

// hostProgram is a program of this machine's /usr/bin with the libraries that it needs.
func hostProgram(t *testing.T, name string) map[string]string {
	t.Helper()
	program := "/usr/bin/" + name
	needs, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	if err != nil {
		t.Fatalf("the libraries of %s: %v", program, err)
	}
	files := map[string]string{}
	for _, path := range append(strings.Fields(string(needs)), program) {
		if !filepath.IsAbs(path) {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = string(content)
	}
	return files
}

// TestEntrypointsSeeVariables wants entrypoints that look at the job's variables to find them, and the engine to
// know them for such images alone.
func TestEntrypointsSeeVariables(t *testing.T) {
	t.Parallel()
	const entry = "#!/bin/sh\necho \"entry sees $PLAIN, $(basename \"$FILE\"), ${BIG-nothing big}\"\nexec \"$@\"\n"
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		with := image(t, e, enginetest.Image{Files: map[string]string{"/entry": entry}, Entrypoint: []string{"/entry"}})
		for of, wanted := range map[string]bool{with: true, "": false} {
			j := theJob(of, "PLAIN=it's here", "BIG="+strings.Repeat("x", 200<<10))
			j.Variables = append(j.Variables, job.Variable{Key: "FILE", Value: "content", File: true})
			r := b.prepare(t, b.o, j)
			r.script(executor.Helper, "true")
			r.script(executor.Build, "true")
			if said := strings.Contains(r.log.String(), "entry sees it's here, FILE, nothing big\n"); said != wanted {
				t.Errorf("the entrypoint of %q said %q", of, r.log.String())
			}
			got, err := e.Client(t).ContainerInspect(t.Context(), "skerry-"+r.ref.ID+"-build", client.ContainerInspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if has := slices.Contains(got.Container.Config.Env, "PLAIN=it's here"); has != wanted {
				t.Errorf("the container of %q has %q", of, got.Container.Config.Env)
			}
		}
	})
}

// TestHopelessEntrypoints wants messages that a job's author can act upon.
func TestHopelessEntrypoints(t *testing.T) {
	t.Parallel()
	foreign := "\x7fELF\x02\x01\x01\x00" + strings.Repeat("\x00", 8) + "\x02\x00\xf3\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 64) // riscv
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		for name, test := range map[string]struct {
			image  enginetest.Image
			user   string
			reason job.Reason
			want   string
		}{
			"ignores its arguments": {image: enginetest.Image{Entrypoint: []string{"/bin/true"}}, reason: job.ReasonConfiguration, want: "ended without running the job's shell"},
			"fails":                 {image: enginetest.Image{Files: map[string]string{"/entry": "#!/bin/sh\necho no database; exit 3\n"}, Entrypoint: []string{"/entry"}}, reason: job.ReasonConfiguration, want: "no database"},
			"is not there":          {image: enginetest.Image{Entrypoint: []string{"/nothing"}}, reason: job.ReasonConfiguration, want: `the entrypoint ["/nothing"]`},
			"of another processor":  {image: enginetest.Image{Files: map[string]string{"/entry": foreign}, Entrypoint: []string{"/entry"}}, reason: job.ReasonConfiguration, want: "made for another kind of processor"},
			"no such user":          {user: "nobody-here", reason: job.ReasonConfiguration, want: `has no user "nobody-here"`},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				j := theJob(image(t, e, test.image))
				j.Image.User = test.user
				_, _, err := b.prepare(t, b.o, j).dial(executor.Build)
				var failure *executor.Failure
				if !errors.As(err, &failure) || failure.Reason != test.reason || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error is %v (%+v), want reason %s and %q", err, failure, test.reason, test.want)
				}
			})
		}
	})
}

// TestNoShell wants a script in an image without a shell to say so.
func TestNoShell(t *testing.T) {
	t.Parallel()
	foreign := "\x7fELF\x02\x01\x01\x00" + strings.Repeat("\x00", 8) + "\x02\x00\xf3\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 64)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		for name, test := range map[string]struct {
			files map[string]string
			want  string
		}{
			"static program":       {map[string]string{"/app": "x"}, "no bash and no sh here"},
			"of another processor": {map[string]string{"/bin/sh": foreign}, "another kind of processor"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := b.prepare(t, b.o, theJob(image(t, e, enginetest.Image{Bare: true, Files: test.files})))
				_, res := r.stage(executor.Build, stage.Spec{Dir: "/builds/p", Base: "/builds", Script: &stage.Script{Lines: []string{"true"}, Umask: -1}})
				if res.Reason != stage.System || !strings.Contains(res.Message, test.want) {
					t.Errorf("result is %+v, want one with %q", res, test.want)
				}
			})
		}
	})
}
