package seed

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/image/hostfiles"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// toolNames are Nix's programs, all of them the same one by another name.
var toolNames = []string{ //nolint:gochecknoglobals // a table
	"nix-build", "nix-store", "nix-shell", "nix-instantiate", "nix-env", "nix-collect-garbage", "nix-channel", "nix-copy-closure",
	"nix-hash", "nix-prefetch-url", "nix-daemon",
}

// launcher starts Nix with the libraries beside it, in any image that has a shell. What it knows it finds from
// its own name, because the store path follows from the content.
const launcher = `#!/bin/sh
name=${0##*/}
self=$0
while [ -L "$self" ]; do
  to=$(readlink "$self") || break
  case $to in
  /*) self=$to ;;
  *) self=${self%%/*}/$to ;;
  esac
done
case $name in nix-*) ;; *) name=nix ;; esac
top=$(cd "${self%%/*}/.." && pwd -P) || exit 1
export NIX_BIN_DIR="$top/bin"
[ -n "${NIX_SSL_CERT_FILE:-}" ] || [ ! -e "$top/etc/ssl/certs/ca-bundle.crt" ] || export NIX_SSL_CERT_FILE="$top/etc/ssl/certs/ca-bundle.crt"
exec "$top/lib/%[1]s" %[2]s--library-path "$top/lib" --argv0 "$name" "$top/libexec/nix" "$@"
`

// assemble adds to the store what the image's Nix, which is not from the store, needs to run anywhere: the volumes.Program,
// its loader and libraries, certificates, and launchers. It returns the directory of these.
func (r *seeder) assemble(ctx context.Context, real string) (string, error) {
	tmp, err := os.MkdirTemp("", "skerry-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	top := filepath.Join(tmp, "skerry-nix-"+r.s.Nix)
	for _, d := range []string{"bin", "lib", "libexec"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			return "", err
		}
	}
	loader, err := interpreter(real)
	if err != nil {
		return "", err
	}
	program := "libexec/nix"
	if loader == "" { // static: it runs anywhere
		program = "bin/nix"
	} else if err := libraries(real, filepath.Join(top, "lib")); err != nil {
		return "", err
	}
	if err := volumes.CopyFile(real, filepath.Join(top, program), 0o755); err != nil {
		return "", err
	}
	if loader != "" {
		if err := os.WriteFile(filepath.Join(top, "bin/nix"), []byte(launch(filepath.Base(loader))), 0o755); err != nil { //nolint:gosec // a program
			return "", err
		}
	}
	for _, name := range toolNames {
		if err := os.Symlink("nix", filepath.Join(top, "bin", name)); err != nil {
			return "", err
		}
	}
	const bundle = "/etc/ssl/certs/ca-bundle.crt"
	if file := r.certificates(); file != "" {
		if err := os.MkdirAll(filepath.Dir(top+bundle), 0o755); err != nil {
			return "", err
		}
		if err := volumes.CopyFile(file, top+bundle, 0o644); err != nil {
			return "", err
		}
	}
	added, err := r.add(ctx, top)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(top + bundle); err == nil {
		r.s.Certs = added + bundle
	}
	return added + "/bin", nil
}

// launch is the launcher for a loader. Only glibc's has a cache, which is that of the job's image.
func launch(loader string) string {
	var options string
	if !strings.HasPrefix(loader, "ld-musl") {
		options = "--inhibit-cache "
	}
	return fmt.Sprintf(launcher, loader, options)
}

// interpreter is the loader that a program names; a static one has none.
func interpreter(program string) (string, error) {
	e, err := elf.Open(program)
	if err != nil {
		return "", fmt.Errorf("%s cannot be served to jobs from the store, as it is no plain program: %w", program, err)
	}
	defer e.Close() //nolint:errcheck // only read
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		raw := make([]byte, min(p.Filesz, 4096))
		if _, err := p.ReadAt(raw, 0); err != nil {
			return "", fmt.Errorf("read %s: %w", program, err)
		}
		return strings.TrimRight(string(raw), "\x00"), nil
	}
	return "", nil
}

// libraries puts the loader and all libraries of a program into one directory, by the names they are asked for.
func libraries(program, dir string) error {
	set := hostfiles.New("/")
	if err := set.Program(program); err != nil {
		return err
	}
	// What is loaded without being named: by the C library when a thread is cancelled, and by Nix before it forks.
	for _, name := range []string{"libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2"} {
		if err := set.Library(name); err != nil {
			return err
		}
	}
	for _, p := range set.Paths() {
		to := filepath.Join(dir, filepath.Base(p))
		i, err := os.Stat(p)
		if err != nil {
			return err
		}
		if !i.Mode().IsRegular() || p == program {
			continue
		}
		if link, err := os.Readlink(p); err == nil {
			if err := os.Symlink(filepath.Base(link), to); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			continue
		}
		if err := volumes.CopyFile(p, to, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// version is the number in what a program of Nix says to --version: "nix-store (Nix) 2.26.3".
func version(said string) string {
	f := strings.Fields(said)
	if len(f) == 0 {
		return ""
	}
	return f[len(f)-1]
}
