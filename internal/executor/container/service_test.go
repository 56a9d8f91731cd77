package container_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	agentclient "gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// webImage serves its environment and its hosts file over HTTP, after DELAY seconds; it asks $ASK first.
const webImage = "skerry.test/group/web:1"

func loadWeb(t *testing.T, e enginetest.Engine) {
	t.Helper()
	e.Load(t, enginetest.Image{Name: webImage, Ports: []string{"80/tcp", "9999/tcp", "53/udp"}, Entrypoint: []string{"/serve"}, Files: map[string]string{
		"/serve": `#!/bin/sh
echo "serving $NAME"
[ -z "$FAIL" ] || { echo "cannot serve $NAME" >&2; exit "$FAIL"; }
mkdir -p /www; env > /www/env; echo "$@" > /www/args; id -u > /www/id; cp /etc/hosts /www/hosts
sleep "${DELAY:-0}"
if [ -n "$ASK" ]; then
  until wget -q -O /www/asked "$ASK"; do sleep 0.1; done
fi
httpd -p "${HEALTHCHECK_TCP_PORT:-80}" -h /www
trap 'exit 7' TERM
while :; do sleep 0.2; [ ! -e /www/stop ] || { echo "last words of $NAME"; exit 3; }; done
`,
	}})
}

// job is one job's environment with services, and what was said in its log.
type serviceJob struct {
	t   *testing.T
	ctx context.Context
	o   container.Options
	e   enginetest.Engine
	ref executor.Ref
	env executor.Environment
	log *lines
	end sync.Once
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func service(name, alias string, vars ...string) job.Image {
	i := job.Image{Name: name, Alias: alias}
	for _, v := range vars {
		key, value, _ := strings.Cut(v, "=")
		i.Variables = append(i.Variables, job.Variable{Key: key, Value: value})
	}
	return i
}

func newHost(t *testing.T) *container.Host {
	t.Helper()
	host := &container.Host{}
	t.Cleanup(func() {
		if err := host.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return host
}

func startServices(t *testing.T, e enginetest.Engine, host *container.Host, o container.Options, j *job.Job) *serviceJob {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &serviceJob{t: t, ctx: ctx, o: o, e: e, ref: executor.NewRef(executor.OwnerID(executor.NewRef("x").ID)), log: &lines{}}
	j.ID, j.Token = 1, "token"
	j.Variables = append(job.Variables{{Key: "RUNNER_TEMP_PROJECT_DIR", Value: "/builds/x.tmp", Public: true}}, j.Variables...)
	env, err := container.New(o, host, slog.New(slog.NewTextHandler(t.Output(), nil))).Prepare(ctx, s.ref, j, s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.env = env
	t.Cleanup(s.close)
	return s
}

func (s *serviceJob) close() {
	s.end.Do(s.closeOnce)
}

func (s *serviceJob) closeOnce() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.env.Close(ctx); err != nil {
		s.t.Errorf("Close: %v", err)
	}
}

// agent connects to the agent of the build place, which answers when the services are up.
func (s *serviceJob) agent() (*agentclient.Client, error) {
	c := agentclient.New(func(ctx context.Context) (net.Conn, error) { return s.env.Dial(ctx, executor.Build) }, 1)
	s.t.Cleanup(c.Close)
	if _, err := c.Hello(s.ctx); err != nil {
		return nil, err
	}
	return c, c.Handover(s.ctx, wire.Handover{Job: s.ref.String(), Left: time.Hour, Lease: time.Hour})
}

// run runs a script in the build place and returns what it wrote.
func (s *serviceJob) run(script string) string {
	s.t.Helper()
	c, err := s.agent()
	if err != nil {
		s.t.Fatalf("%v\nlog:\n%s", err, s.log)
	}
	id := "s" + executor.NewRef("x").ID
	if _, err := c.Start(s.ctx, stage.Spec{ID: id, Dir: "/builds/x", Grace: time.Second, Script: &stage.Script{Lines: []string{script}, Umask: -1}}); err != nil {
		s.t.Fatal(err)
	}
	body, err := c.OpenSpool(s.ctx, id, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer body.Close()
	var out strings.Builder
	for d := spool.NewDecoder(body, 0); ; {
		rec, err := d.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		if rec.Stream == spool.End {
			return out.String()
		}
		out.Write(rec.Data)
	}
}

func (s *serviceJob) want(text, what string, parts ...string) {
	s.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			s.t.Errorf("%s lacks %q:\n%s\nlog:\n%s", what, p, text, s.log)
		}
	}
}

func TestServicesAreReachedByName(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		loadWeb(t, e)
		o.Services = []container.ServiceImage{{Image: service(webImage, "first", "NAME=runner's $CI_JOB_NAME")}}
		o.WaitForServicesSecond = 100
		host := newHost(t)
		for range 2 { // the second on the network of the first
			asks := service(webImage, "second,third", "NAME=of $SECRET", "ASK=http://skerry.test__group__web/env")
			asks.Command = []string{"one", "two words"}
			s := startServices(t, e, host, o, &job.Job{
				Variables: job.Variables{
					{Key: "CI_JOB_NAME", Value: "job", Public: true}, {Key: "SECRET", Value: "s3cret"},
					{Key: "FILE", Value: "content", Public: true, File: true},
				},
				Services: []job.Image{asks},
			})
			text := s.run(`for n in skerry.test__group__web skerry.test-group-web first second third; do wget -q -O - http://$n/env | sed "s/^/$n: /"; done
wget -q -O - http://third/asked | sed 's/^/asked: /'; wget -q -O - http://third/args
id=$(grep -w third /etc/hosts | tail -n 1 | tr ' ' '\n' | tail -n 1); wget -q -O - http://$id/env | sed 's/^/id: /'
wget -q -O - http://third/hosts | grep -w build`)
			s.want(text, "the job's output", "skerry.test__group__web: NAME=runner's job\n", "skerry.test-group-web: NAME=runner's job\n",
				"first: NAME=runner's job\n", "second: NAME=of s3cret\n", "third: NAME=of s3cret\n", "id: NAME=of s3cret\n",
				"third: CI_JOB_NAME=job\n", "third: FILE=/builds/x.tmp/FILE\n", "asked: NAME=runner's job\n", "one two words\n", "\tbuild")
			if strings.Contains(text, "SECRET=") {
				t.Errorf("a variable that is not public got to a service:\n%s", text)
			}
			s.want(s.log.String(), "the log", "Starting service skerry.test/group/web:1...\n", "Waiting for services to be up and running (timeout 100 seconds)...\n",
				`Skipping alias "skerry.test__group__web" for service "`+webImage+`" (services[1]): alias is already in use by another service.`)
			if strings.Contains(s.log.String(), "***") {
				t.Errorf("warned:\n%s", s.log)
			}
			s.close()
		}
	})
}

func TestServicesThatFail(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		loadWeb(t, e)
		o.WaitForServicesSecond = 3
		host := newHost(t)
		mute := service("skerry.test/busybox", "mute", "HEALTHCHECK_TCP_PORT=81")
		mute.Command = []string{"sleep", "1000"}
		dead := service(webImage, "dead", "NAME=dead", "FAIL=5")
		s := startServices(t, e, host, o, &job.Job{Services: []job.Image{dead, mute}})
		s.run("true")
		s.want(s.log.String(), "the log", "*** WARNING:\x1b[0;m Service "+webImage+" (skerry.test__group__web, skerry.test-group-web, dead) probably didn't start properly.\n",
			"Service skerry.test/busybox:latest (", "Service container logs:\n")
		o.ServicesRequired = true
		o.WaitForServicesSecond = 3600 // longer than the test: one that is dead is not waited for
		s = startServices(t, e, host, o, &job.Job{Services: []job.Image{dead}})
		_, err := s.agent()
		var failure *executor.Failure
		if !errors.As(err, &failure) || failure.Reason != job.ReasonExternal || !strings.Contains(err.Error(), webImage) {
			t.Errorf("required services: %v", err)
		}
		s.want(s.log.String(), "the log", "ended with exit code 5\n", "Service container logs:\n", "cannot serve dead\n")
		o.ServicesRequired, o.WaitForServicesSecond = false, -1
		s = startServices(t, e, host, o, &job.Job{Services: []job.Image{service(webImage, "slow", "DELAY=100")}})
		s.run("true")
		if strings.Contains(s.log.String(), "Waiting for services") {
			t.Errorf("-1 waits:\n%s", s.log)
		}
	})
}

func TestServiceThatDiesLater(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		loadWeb(t, e)
		s := startServices(t, e, newHost(t), o, &job.Job{Services: []job.Image{service(webImage, "web", "NAME=web"), service(webImage, "other")}})
		companion, ok := s.env.(executor.Companion)
		if !ok {
			t.Fatal("no companion")
		}
		follow, stop := context.WithCancel(s.ctx)
		said := []*lines{{}, {}}
		over := make(chan struct{})
		go func() {
			defer close(over)
			companion.Follow(follow, func(i int) io.Writer { return said[i] })
		}()
		s.run("true")
		api := e.Client(t)
		name := "skerry-" + s.ref.ID + "-service-0"
		made, err := api.ExecCreate(s.ctx, name, client.ExecCreateOptions{Cmd: []string{"touch", "/www/stop"}})
		if err == nil {
			_, err = api.ExecStart(s.ctx, made.ID, client.ExecStartOptions{Detach: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		for !strings.Contains(said[0].String(), "last words") {
			if s.ctx.Err() != nil {
				t.Fatalf("followed: %q", said[0])
			}
			time.Sleep(20 * time.Millisecond)
		}
		for engine := e.Connect(t); ; time.Sleep(20 * time.Millisecond) {
			state, err := engine.State(s.ctx, name) // which asks again where Podman stumbles over a process that has just ended
			if err != nil {
				t.Fatal(err)
			}
			if !state.Running {
				break
			}
		}
		stop()
		<-over
		first, _, _ := strings.Cut(said[0].String(), "\n")
		if !strings.HasPrefix(first, "\x1b[90;1m[service:skerry.test__group__web-skerry.test-group-web-web] 20") || !strings.HasSuffix(first, " serving web\x1b[0;m") {
			t.Errorf("followed: %q", first)
		}
		out := &lines{}
		companion.Report(s.ctx, out)
		s.want(out.String(), "the report", "Service "+webImage+" (", "ended while the job ran.", "ended with exit code 3", "last words of web\n")
		if strings.Contains(out.String(), "other") {
			t.Errorf("the report is wrong:\n%s", out)
		}
	})
}

func TestServicesOnNamedNetworks(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		loadWeb(t, e)
		api := e.Client(t)
		name := "skerry-test-" + executor.NewRef("x").ID
		if _, err := api.NetworkCreate(t.Context(), name, client.NetworkCreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = api.NetworkRemove(context.Background(), name, client.NetworkRemoveOptions{}) })
		o.NetworkMode = name
		s := startServices(t, e, newHost(t), o, &job.Job{Services: []job.Image{service(webImage, "web", "NAME=web")}})
		s.want(s.run("wget -q -O - http://web/env"), "the output", "NAME=web")
		s.close()
		port := freePort(t)
		o.NetworkMode = "host"
		s = startServices(t, e, newHost(t), o, &job.Job{Services: []job.Image{service(webImage, "web", "NAME=web", "HEALTHCHECK_TCP_PORT="+port)}})
		s.want(s.run("wget -q -O - http://web:"+port+"/env"), "the output", "NAME=web")
		if strings.Contains(s.log.String(), "***") {
			t.Errorf("warned:\n%s", s.log)
		}
		s.close()
		o.NetworkMode = "none"
		s = startServices(t, e, newHost(t), o, &job.Job{Services: []job.Image{service(webImage, "web", "NAME=web")}})
		s.want(s.run("wget -q -O - http://web/env 2> /dev/null || echo alone"), "the output", "alone")
	})
}

// freePort is a port that nobody listens on, below those that the kernel gives to whoever asks for any.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		port := strconv.Itoa(20000 + rand.IntN(10000)) //nolint:gosec // no secret
		if l, err := net.Listen("tcp4", ":"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
}
