// Package enginetest gives tests the container engines that scripts/engines.sh has started, and images
// that no registry has to serve.
package enginetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Variable holds NAME=ADDRESS pairs separated by commas.
const Variable = "SKERRY_TEST_ENGINES"

// Engine is one engine to test with.
type Engine struct {
	Name    string // "docker", "podman", "rootless"
	Address engineapi.Address
}

// Each runs test once for every engine, as a subtest. Without engines it fails in CI, and is
// skipped elsewhere.
func Each(t *testing.T, test func(t *testing.T, e Engine)) {
	t.Helper()
	engines := All()
	if len(engines) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("no container engines: run scripts/engines.sh and set %s to what it prints", Variable)
		}
		t.Skipf("no container engines: run scripts/engines.sh as root and set %s to what it prints", Variable)
	}
	for _, e := range engines {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			if u := e.User(t); u != nil {
				again(t, u)
				return
			}
			test(t, e)
		})
	}
}

// Parallel lets a package's tests run so many at once for each processor, unless -parallel says how many: they wait for engines
// more than they work. TestMain calls it.
func Parallel(each int) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set(f.Name, strconv.Itoa(each*runtime.GOMAXPROCS(0)))
	}
}

// NotRaced skips a test under the race detector that would show it nothing: what it tries runs in containers, by programs that
// are built without the detector, or is Nix's or the engine's own. The test itself is run without it.
func NotRaced(t *testing.T) {
	t.Helper()
	if agenttest.Race {
		t.Skip("what it tries runs in containers, where the race detector does not see it")
	}
}

// All lists the engines.
func All() []Engine {
	var engines []Engine
	for pair := range strings.SplitSeq(os.Getenv(Variable), ",") {
		if n, host, ok := strings.Cut(pair, "="); ok {
			engines = append(engines, Engine{Name: n, Address: engineapi.Address{Host: host}})
		}
	}
	return engines
}

// Connect connects to the engine until the test ends.
func (e Engine) Connect(t *testing.T) *engineapi.Engine {
	t.Helper()
	c, err := engineapi.Connect(t.Context(), e.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Client is a client of the engine's whole API, for what tests do behind the executor's back.
func (e Engine) Client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(client.WithHost(e.Address.Host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// User is whom the engine's socket belongs to, as a runner of that engine would run; nil when that is
// this process's own user.
func (e Engine) User(t *testing.T) *user.User {
	t.Helper()
	path := strings.TrimPrefix(e.Address.Host, "unix://")
	i, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	uid := int(i.Sys().(*syscall.Stat_t).Uid)
	if uid == os.Getuid() {
		return nil
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Image is an image to make.
type Image struct {
	Name       string // "skerry.test/busybox:latest"
	Entrypoint []string
	User       string
	Env        []string
	Ports      []string // exposed: "80/tcp"
	Labels     map[string]string
	Volumes    []string
	Files      map[string]string // path to content, mode 0755
	Links      map[string]string // symbolic ones: path to target
	Arch       string            // of images that are pushed; empty: this machine's
	Bare       bool              // nothing but Files
}

// Load gives the engine an image made of a static busybox and Files, unless it has the very same.
func (e Engine) Load(t *testing.T, i Image) {
	t.Helper()
	defer e.loadAlone(t)()
	img, err := build(i)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(i.Name)
	if err != nil {
		t.Fatal(err)
	}
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	api := e.Client(t)
	if has, err := api.ImageInspect(t.Context(), i.Name); err == nil && strings.TrimPrefix(has.ID, "sha256:") == id.Hex {
		return
	}
	var archive bytes.Buffer
	if err := tarball.Write(ref, img, &archive); err != nil {
		t.Fatal(err)
	}
	r, err := api.ImageLoad(t.Context(), &archive)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
}

// Archive writes an image as an archive that engines load.
func Archive(w io.Writer, i Image) error {
	ref, err := name.ParseReference(i.Name)
	if err != nil {
		return err
	}
	img, err := build(i)
	if err != nil {
		return err
	}
	return tarball.Write(ref, img, w)
}

func build(i Image) (v1.Image, error) {
	raw, err := root(i)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
		tarball.WithCompressionLevel(gzip.NoCompression)) // which takes longer than all else
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	f, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	f = f.DeepCopy()
	f.OS, f.Architecture = "linux", runtime.GOARCH
	f.Config.Entrypoint, f.Config.User, f.Config.Labels = i.Entrypoint, i.User, i.Labels
	for _, v := range i.Volumes {
		if f.Config.Volumes == nil {
			f.Config.Volumes = map[string]struct{}{}
		}
		f.Config.Volumes[v] = struct{}{}
	}
	f.Config.Env = i.Env
	if !slices.ContainsFunc(i.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		f.Config.Env = append([]string{"PATH=/bin"}, i.Env...)
	}
	for _, p := range i.Ports {
		if f.Config.ExposedPorts == nil {
			f.Config.ExposedPorts = map[string]struct{}{}
		}
		f.Config.ExposedPorts[p] = struct{}{}
	}
	return mutate.ConfigFile(img, f)
}

// busybox is this machine's static busybox and the names of its applets.
var busybox = sync.OnceValues(func() (b struct{ program, applets []byte }, err error) { //nolint:gochecknoglobals // read once
	path, err := exec.LookPath("busybox")
	if err == nil {
		b.program, err = os.ReadFile(path)
	}
	if err == nil {
		b.applets, err = exec.CommandContext(context.Background(), path, "--list").Output()
	}
	return b, err
})

// root is the file system of an image. The same image makes the same archive.
func root(i Image) ([]byte, error) {
	box, err := busybox()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h *tar.Header, content []byte) {
		if err == nil {
			h.Size = int64(len(content))
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = w.Write(content)
		}
	}
	if !i.Bare {
		for _, d := range []string{"bin", "etc", "root", "home"} {
			add(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}, nil)
		}
		add(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
		add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/root:/bin/sh\njob:x:1000:1000::/home:/bin/sh\n"))
		add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\njob:x:1000:\n"))
		add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, box.program)
		for applet := range strings.FieldsSeq(string(box.applets)) {
			if applet != "busybox" {
				add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}, nil)
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(i.Files)) {
		add(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(p, "/"), Mode: 0o755}, []byte(i.Files[p]))
	}
	for _, p := range slices.Sorted(maps.Keys(i.Links)) {
		add(&tar.Header{Typeflag: tar.TypeSymlink, Name: strings.TrimPrefix(p, "/"), Linkname: i.Links[p], Mode: 0o777}, nil)
	}
	if err != nil {
		return nil, err
	}
	return out.Bytes(), w.Close()
}
