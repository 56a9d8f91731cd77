package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/image"
)

// enginesVariable names the engines to measure: NAME=unix://SOCKET, separated by commas, as scripts/engines.sh
// prints it; addressVariable an address of this machine that containers reach.
const (
	enginesVariable = "SKERRY_TEST_ENGINES"
	addressVariable = "SKERRY_TEST_ADDRESS"
)

// containerEngine is one engine and its own command line, which is the floor's.
type containerEngine struct {
	name   string
	socket string
	cli    []string
	as     *user.User // whose engine it is; nil: this process's own user
}

// engines lists those of the environment whose name is one of names.
func engines(name string) ([]containerEngine, error) {
	for pair := range strings.SplitSeq(os.Getenv(enginesVariable), ",") {
		n, address, ok := strings.Cut(pair, "=")
		if !ok || n != name {
			continue
		}
		e := containerEngine{name: n, socket: strings.TrimPrefix(address, "unix://")}
		info, err := os.Stat(e.socket)
		if err != nil {
			return nil, err
		}
		uid := int(info.Sys().(*syscall.Stat_t).Uid) //nolint:forcetypeassert // Linux
		if uid != os.Getuid() {
			if e.as, err = user.LookupId(strconv.Itoa(uid)); err != nil {
				return nil, err
			}
		}
		e.cli = []string{"podman"}
		if n == "docker" {
			e.cli = []string{"docker", "--host", address}
		}
		return []containerEngine{e}, nil
	}
	return nil, nil
}

// command runs the engine's own command line.
func (e containerEngine) command(ctx context.Context, in io.Reader, args ...string) error {
	cmd := exec.CommandContext(ctx, e.cli[0], append(e.cli[1:len(e.cli):len(e.cli)], args...)...)
	cmd.Stdin, cmd.Dir = in, "/"
	cmd.SysProcAttr, cmd.Env = e.credential(), e.environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", e.cli[0], args, err, out)
	}
	return nil
}

func (e containerEngine) credential() *syscall.SysProcAttr {
	if e.as == nil {
		return &syscall.SysProcAttr{}
	}
	uid, _ := strconv.ParseUint(e.as.Uid, 10, 32) // ids of the system's own
	gid, _ := strconv.ParseUint(e.as.Gid, 10, 32)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func (e containerEngine) environ() []string {
	if e.as == nil {
		return os.Environ()
	}
	return []string{"HOME=" + e.as.HomeDir, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + filepath.Dir(e.socket)}
}

// containers returns the benchmarks of one engine; without the engine they only say that they were not run.
func containers(name string, limit float64) []benchmark {
	measure := func(suffix string, run func(ctx context.Context, s *settings, out *report, e containerEngine, ref string) error) benchmark {
		return benchmark{name + suffix, func(ctx context.Context, s *settings, out *report) error {
			found, err := engines(name)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				fmt.Fprintf(out.w, "# %s%s is not measured: there is no engine %q in $%s, see scripts/engines.sh\n", name, suffix, name, enginesVariable)
				return nil
			}
			ref, err := loadHelper(ctx, found[0])
			if err != nil {
				return err
			}
			return run(ctx, s, out, found[0], ref)
		}}
	}
	return []benchmark{
		measure("-job", func(ctx context.Context, s *settings, out *report, e containerEngine, ref string) error {
			return containerJob(ctx, s, out, e, ref, name+"-job", limit, hi())
		}),
		measure("-service", func(ctx context.Context, s *settings, out *report, e containerEngine, ref string) error {
			service, err := e.loadServer(ctx)
			if err != nil {
				return err
			}
			spec := hi()
			spec.Services = []jobpayload.Image{{Name: service, Alias: "tcp", Variables: []jobpayload.Variable{{Key: "HEALTHCHECK_TCP_PORT", Value: serverPort}}}}
			return containerJob(ctx, s, out, e, ref, name+"-service", 1, spec)
		}),
		measure("-throughput", func(ctx context.Context, s *settings, out *report, e containerEngine, ref string) error {
			return containerThroughput(ctx, s, out, e, ref, name+"-throughput")
		}),
		measure("-nested", func(ctx context.Context, s *settings, out *report, e containerEngine, _ string) error {
			return nested(ctx, s, out, e, name+"-nested")
		}),
		measure("-nix-first-use", func(ctx context.Context, s *settings, out *report, e containerEngine, ref string) error {
			return nixFirstUse(ctx, s, out, e, ref, name+"-nix-first-use")
		}),
		measure("-nix-large-store", func(ctx context.Context, s *settings, out *report, e containerEngine, ref string) error {
			return nixLargeStore(ctx, s, out, e, ref, name+"-nix-large-store")
		}),
		measure("-nix-together", func(ctx context.Context, s *settings, out *report, e containerEngine, ref string) error {
			return nixTogether(ctx, s, out, e, ref, name+"-nix-together")
		}),
	}
}

// loadHelper gives the engine the image that is helper and job image.
func loadHelper(ctx context.Context, e containerEngine) (string, error) {
	h, err := image.NewHelper(ctx)
	if err != nil {
		return "", err
	}
	if e.command(ctx, nil, "image", "inspect", h.Ref) == nil {
		return h.Ref, nil
	}
	var archive bytes.Buffer
	if err := h.Write(&archive); err != nil {
		return "", err
	}
	return h.Ref, e.command(ctx, &archive, "load")
}

// The service that jobs get: this program, which listens.
const (
	serverImage = "skerry.test/bench-server:latest"
	serverPort  = "9418"
	serveFlag   = "-serve-in-container"
)

// loadServer makes an image of this program alone.
func (e containerEngine) loadServer(ctx context.Context) (string, error) {
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bench", Mode: 0o755, Size: int64(len(exe))})
	if err == nil {
		_, err = w.Write(exe)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return "", err
	}
	return serverImage, e.command(ctx, &root, "import", "--change", fmt.Sprintf("ENTRYPOINT [%q, %q]", "/bench", serveFlag), "-", serverImage)
}

// serve is the service.
func serve(stderr io.Writer) int {
	l, err := net.Listen("tcp", ":"+serverPort) //nolint:noctx // until the container is removed
	for err == nil {
		var c net.Conn
		if c, err = l.Accept(); err == nil {
			_ = c.Close()
		}
	}
	fmt.Fprintf(stderr, "bench: %v\n", err)
	return 1
}

// byHand is the floor: what anybody needs for one command in a container on a network of its own.
func (e containerEngine) byHand(ctx context.Context, ref, name string) (time.Duration, error) {
	start := time.Now()
	err := e.command(ctx, nil, "network", "create", name)
	if err == nil {
		err = errors.Join(e.command(ctx, nil, "run", "--rm", "--network", name, ref, "true"), e.command(ctx, nil, "network", "rm", name))
	}
	return time.Since(start), err
}

func (e containerEngine) wish(ref string, concurrent int, socket string) wish {
	return wish{
		concurrent: concurrent, project: true, listen: reachable(), engine: &e,
		keys: []string{fmt.Sprintf("request_concurrency = %d", concurrent)},
		more: []string{"  [runners.docker]", fmt.Sprintf("    host = %q", "unix://"+socket), fmt.Sprintf("    image = %q", ref), "    pull_policy = \"if-not-present\""},
	}
}

func containerJob(ctx context.Context, s *settings, out *report, e containerEngine, ref, name string, limit float64, spec gitlabtest.JobSpec) (err error) {
	counted, err := newCounter(s.dir, e)
	if err != nil {
		return err
	}
	defer counted.close()
	in, err := install(ctx, s, e.wish(ref, 1, counted.path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	var jobs, floor []time.Duration
	var calls int
	for i := range s.rounds/2 + 2 {
		hand, err := e.byHand(ctx, ref, "skerry-bench-"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		before := counted.count()
		j, err := in.job(ctx, spec)
		if err != nil {
			return err
		}
		if err := in.listening(ctx); err != nil {
			return err
		}
		if i < 2 {
			continue // the first slot is made, and what is read from the disk for the first time
		}
		calls = counted.count() - before
		jobs, floor = append(jobs, took(j)), append(floor, hand)
	}
	out.add(figure{
		name: name, value: median(jobs), unit: "ms", floor: median(floor), goal: &goal{limit: limit, ratio: true},
		note: fmt.Sprintf("%d requests to the engine until the next job is asked for", calls),
	})
	return nil
}

func containerThroughput(ctx context.Context, s *settings, out *report, e containerEngine, ref, name string) (err error) {
	in, err := install(ctx, s, e.wish(ref, abreast, e.socket))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if _, err := in.many(ctx, abreast); err != nil { // the slots are made
		return err
	}
	floor, err := e.handAbreast(ctx, ref)
	if err != nil {
		return err
	}
	took, err := in.many(ctx, manyJobs)
	if err != nil {
		return err
	}
	out.add(figure{name: name, value: manyJobs / took.Minutes(), unit: "jobs/min", floor: manyJobs / floor.Minutes(), goal: &goal{limit: 250, atLeast: true}})
	return nil
}

func (e containerEngine) handAbreast(ctx context.Context, ref string) (time.Duration, error) {
	start := time.Now()
	var wg sync.WaitGroup
	work, errs := make(chan int, manyJobs), make(chan error, manyJobs)
	for i := range manyJobs {
		work <- i
	}
	close(work)
	for range abreast {
		wg.Go(func() {
			for i := range work {
				_, err := e.byHand(ctx, ref, "skerry-bench-many-"+strconv.Itoa(i))
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return time.Since(start), errors.Join(all...)
}

// reachable is an address of this machine that containers reach: the variable's, else the first one that is
// not a loopback's.
func reachable() string {
	if a := os.Getenv(addressVariable); a != "" {
		return net.JoinHostPort(a, "0")
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return net.JoinHostPort(n.IP.String(), "0")
		}
	}
	return ""
}
