// Package seed fills a domain's volumes from the image of its daemon.
package seed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// Run brings the image's own store paths to the volumes, sees to it that Nix can be run from the store, and pins both.
// It may be killed at any moment and run again. Unless there is nothing to do, the domain's daemon must have ended.
func Run(ctx context.Context, image string, own volumes.Layout) (volumes.Seeded, error) {
	to := volumes.Layout{Root: own.Root, Seeded: true}
	if err := mounted(to); err != nil {
		return volumes.Seeded{}, err
	}
	if err := to.Make(); err != nil {
		return volumes.Seeded{}, err
	}
	if s, err := Done(image, to); err == nil {
		s.Seeded = 0
		return s, retireOthers(to, pinOf(image)) // in case that was not reached
	}
	k, err := to.Own(30 * time.Second)
	if err != nil {
		return volumes.Seeded{}, err
	}
	defer k.Release()
	nix, err := volumes.FindNix(own, image)
	if err != nil {
		return volumes.Seeded{}, err
	}
	if err := os.MkdirAll(os.TempDir(), 0o755); err != nil { // of an image that has nothing but a store
		return volumes.Seeded{}, err
	}
	return fill(ctx, image, own, to, nix)
}

// Done tells what has come of a seeding from the image, by whomever. There is an error unless all that it has brought is there.
func Done(image string, l volumes.Layout) (volumes.Seeded, error) {
	s, err := volumes.ReadSeeded(l)
	if err == nil && (s.Image != image || !complete(s, l)) {
		err = errors.New("it was from another image, or is not whole any more")
	}
	return s, err
}

// ErrHidden is what Inside says of other images.
var ErrHidden = errors.New("the image's own Nix is hidden by the domain's volumes: run the command seed in a container of it first")

// Inside is Run in the daemon's own container, for an image whose Nix is not in /nix/store: the volumes hide nothing of it.
// The caller owns them.
func Inside(ctx context.Context, image string, l volumes.Layout, nix volumes.Program) (volumes.Seeded, error) {
	if s, err := Done(image, l); err == nil {
		return s, nil
	}
	if real, err := filepath.EvalSymlinks(nix.Dir + "/nix-store"); err != nil || volumes.Basename(real) != "" {
		return volumes.Seeded{}, errors.Join(ErrHidden, err)
	}
	return fill(ctx, image, l, l, nix)
}

func fill(ctx context.Context, image string, own, to volumes.Layout, nix volumes.Program) (volumes.Seeded, error) {
	r := &seeder{own: own, to: to, nix: nix, pins: filepath.Join(to.Pins(), pinOf(image))}
	r.s.Image, r.s.Format = image, format
	if err := volumes.Disturb(to); err != nil {
		return r.s, err
	}
	if err := volumes.Initialize(ctx, to, nix.OnVolumes(to)); err != nil {
		return r.s, err
	}
	if err := r.run(ctx); err != nil {
		return r.s, err
	}
	if err := r.s.Save(to); err != nil {
		return r.s, err
	}
	return r.s, retireOthers(to, filepath.Base(r.pins))
}

// pinOf is the name of the pin that holds an image's paths.
func pinOf(image string) string { return volumes.ImagePin + strings.ReplaceAll(image, ":", "-") }

// format changes with what is made here of the same image.
const format = 1

// complete reports whether all that seeding has pinned is still there.
func complete(s volumes.Seeded, l volumes.Layout) bool {
	for _, b := range s.Roots {
		_, err := os.Lstat(l.Store() + "/" + b)
		_, err2 := os.Lstat(filepath.Join(l.Pins(), pinOf(s.Image), b))
		if err != nil || err2 != nil {
			return false
		}
	}
	return s.Format == format && s.Daemon != ""
}

// mounted makes sure of the volumes: what is written beside them is lost.
func mounted(l volumes.Layout) error {
	raw, err := os.ReadFile(l.Root + "/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, want := range []string{volumes.SeedDir + "/store", volumes.SeedDir + "/var", volumes.SeedDir + "/var/gcroots/skerry"} {
		if !strings.Contains(string(raw), " "+want+" ") {
			return fmt.Errorf("seed: no volume is mounted at %s: mount the store there, Nix's state at %s/var and the gate at %[2]s/var/gcroots/skerry", want, volumes.SeedDir)
		}
	}
	return nil
}

// retireOthers lets go of the paths of earlier images, which running jobs may still use: they are collected like theirs.
func retireOthers(l volumes.Layout, name string) error {
	pins, err := os.ReadDir(l.Pins())
	if err != nil {
		return err
	}
	for _, p := range pins {
		if strings.HasPrefix(p.Name(), volumes.ImagePin) && p.Name() != name {
			if _, err := volumes.Retire(l, filepath.Join(l.Pins(), p.Name()), time.Now()); err != nil {
				return err
			}
		}
	}
	return nil
}

// seeder is one seeding at work.
type seeder struct {
	own, to volumes.Layout
	nix     volumes.Program
	pins    string
	s       volumes.Seeded
}

func (r *seeder) run(ctx context.Context) error {
	if err := os.MkdirAll(r.pins, 0o755); err != nil {
		return err
	}
	said, err := r.nix.Run(ctx, nil, "nix-store", "--version")
	if err != nil {
		return err
	}
	r.s.Nix = version(string(said))
	var g volumes.Graph
	if _, err := os.Stat(r.own.State() + "/db/db.sqlite"); err == nil && r.own != r.to {
		if g, err = volumes.ReadGraph(ctx, r.nix); err != nil {
			return fmt.Errorf("the image's own store: %w", err)
		}
	}
	if err := r.bring(ctx, g); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(r.nix.Dir + "/nix-store")
	if err != nil {
		return err
	}
	r.s.Daemon = r.nix.Dir
	_, valid := g[volumes.Basename(real)]
	if valid {
		// The image's profiles will be hidden; the store path will not. Debian's is where it was.
		r.s.Daemon, r.s.Tools = filepath.Dir(real), filepath.Dir(real)
	} else if r.s.Tools, err = r.assemble(ctx, real); err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.s.Tools, r.s.Certs, r.s.Why = "", "", err.Error()
	}
	if err := r.addCertificates(ctx, g); err != nil {
		return err
	}
	r.s.Roots, err = volumes.RootsIn(r.pins)
	for i, p := range r.s.Roots {
		r.s.Roots[i] = filepath.Base(p)
	}
	return err
}

// bring copies those of the image's paths that the volumes do not have. They are pinned before, so that no collection
// can come between.
func (r *seeder) bring(ctx context.Context, g volumes.Graph) error {
	if len(g) == 0 {
		return nil
	}
	for _, base := range g.Tops() {
		if err := volumes.Root(r.pins, base); err != nil {
			return err
		}
	}
	missing, err := r.missing(ctx, g)
	if err != nil {
		return err
	}
	volumes.Sweep(r.to)
	c := copier{links: map[volumes.Inode]string{}}
	var registrations strings.Builder
	for _, base := range missing {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		temporary, final := r.to.Store()+"/"+volumes.SeedPrefix+base, r.to.Store()+"/"+base
		if err := c.copy(r.own.Store()+"/"+base, temporary); err != nil {
			return fmt.Errorf("copy %s/%s to the domain's store: %w", volumes.StoreDir, base, err)
		}
		if err := volumes.RemoveAll(final); err != nil { // not valid: somebody was killed in the middle of it
			return err
		}
		if err := os.Rename(temporary, final); err != nil {
			return err
		}
		c.moved(temporary, final)
		registrations.WriteString(g[base].Registration(base))
	}
	if len(missing) > 0 {
		if _, err := r.nix.OnVolumes(r.to).Run(ctx, strings.NewReader(registrations.String()), "nix-store", "--load-db"); err != nil {
			return err
		}
	}
	r.s.Seeded += len(missing)
	return nil
}

// missing are the paths that are not valid in the volumes, in the order of their names.
func (r *seeder) missing(ctx context.Context, g volumes.Graph) ([]string, error) {
	var all, missing []string
	for base := range g {
		all = append(all, volumes.StoreDir+"/"+base)
	}
	slices.Sort(all)
	for chunk := range slices.Chunk(all, 1000) {
		out, err := r.nix.OnVolumes(r.to).Run(ctx, nil, "nix-store", append([]string{"--check-validity", "--print-invalid"}, chunk...)...)
		if err != nil {
			return nil, err
		}
		for p := range strings.FieldsSeq(string(out)) {
			if b := volumes.Basename(p); b != "" {
				missing = append(missing, b)
			}
		}
	}
	return missing, nil
}

// add adds a file or directory to the domain's store by its content, and pins it.
func (r *seeder) add(ctx context.Context, path string) (string, error) {
	out, err := r.nix.OnVolumes(r.to).Run(ctx, nil, "nix-store", "--add", path)
	if err != nil {
		return "", err
	}
	b := volumes.Basename(strings.TrimSpace(string(out)))
	if b == "" {
		return "", fmt.Errorf("nix-store --add %s: %q is no store path", path, bytes.TrimSpace(out))
	}
	r.s.Seeded++
	return volumes.StoreDir + "/" + b, volumes.Root(r.pins, b)
}

// certificates finds the file of the image's certificates; empty: it has none.
func (r *seeder) certificates() string {
	for _, p := range []string{
		os.Getenv("NIX_SSL_CERT_FILE"), os.Getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-bundle.crt",
		"/etc/pki/tls/certs/ca-bundle.crt", volumes.StateDir + "/profiles/default/etc/ssl/certs/ca-bundle.crt",
		"/root/.nix-profile/etc/ssl/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
	} {
		if real, err := filepath.EvalSymlinks(r.own.Root + p); p != "" && err == nil {
			return real
		}
	}
	return ""
}

// addCertificates adds them to the store, unless they are there.
func (r *seeder) addCertificates(ctx context.Context, g volumes.Graph) error {
	file := r.certificates()
	if file == "" || r.s.Certs != "" {
		return nil
	}
	if _, valid := g[volumes.Basename(file)]; valid {
		r.s.Certs = file
		return nil
	}
	dir, err := os.MkdirTemp("", "skerry-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "skerry-ca-bundle.crt")
	if err := volumes.CopyFile(file, copied, 0o644); err != nil {
		return err
	}
	r.s.Certs, err = r.add(ctx, copied)
	return err
}
