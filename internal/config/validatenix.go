package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"gitlab.com/skerry/skerry/internal/config/schema"
	"gitlab.com/skerry/skerry/internal/nixopt"
)

// validateNix checks [runners.nix] as it is written, before the defaults.
func validateNix(r *Runner, d *schema.Decoder, at string) {
	n := r.Nix
	if n == nil {
		return
	}
	at = schema.Join(at, "nix")
	no := func(path, format string, args ...any) { refuse(d, r, path, format, args...) }
	oneOf(no, schema.Join(at, "store"), n.Store, NixOff, NixShared, NixHost)
	oneOf(no, schema.Join(at, "trust"), n.Trust, NixTrustAll, NixTrustRunner, NixTrustProtected, NixTrustProject, NixTrustJob)
	oneOf(no, schema.Join(at, "sandbox"), n.Sandbox, NixSandboxRequired, NixSandboxAuto, NixSandboxOff)
	oneOf(no, schema.Join(at, "host_store"), n.HostStore, NixHostWhole, NixHostClosure)
	oneOf(no, schema.Join(at, "push_from"), n.PushFrom, NixPushProtected, NixPushAll)
	n.validateNumbers(no, at)
	validateCaches(no, at, n.Substituters, n.TrustedPublicKeys)
	if p := n.Protected; p != nil {
		validateCaches(no, schema.Join(at, "protected"), p.Substituters, p.TrustedPublicKeys)
	}
	for _, line := range n.ConfLines() {
		say(no, schema.Join(at, "extra_conf"), nixopt.Line(line))
	}
	if strings.ContainsAny(n.Image, " \t\n") {
		no(schema.Join(at, "image"), "must be the name of an image, is %q", n.Image)
	}
	n.validateHost(r, d, at)
	n.validatePush(r, d, at)
	if n.Enabled() {
		n.validateUse(r, d, at)
	}
}

func (n *Nix) validateNumbers(no report, at string) {
	for _, v := range []struct {
		key      string
		negative bool
	}{
		{"max_jobs", n.MaxJobs < 0},
		{"cores", n.Cores < 0},
		{"idle_timeout", n.IdleTimeout != nil && *n.IdleTimeout < 0},
		{"keep_for", n.KeepFor != nil && *n.KeepFor < 0},
		{"collect_interval", n.CollectInterval != nil && *n.CollectInterval < 0},
	} {
		if v.negative {
			no(schema.Join(at, v.key), "must not be negative")
		}
	}
	if n.MinFree != "" {
		_, err := ParseFree(n.MinFree)
		say(no, schema.Join(at, "min_free"), err)
	}
}

// validateHost checks what is about the machine's own daemon.
func (n *Nix) validateHost(r *Runner, d *schema.Decoder, at string) {
	if n.HostSocket != "" && !filepath.IsAbs(n.HostSocket) {
		refuse(d, r, schema.Join(at, "host_socket"), "must be the absolute path of a socket such as %q, is %q", DefaultNixSocket, n.HostSocket)
	}
}

// validatePush checks what is about a binary cache that is pushed to.
func (n *Nix) validatePush(r *Runner, d *schema.Decoder, at string) {
	no := func(path, format string, args ...any) { refuse(d, r, path, format, args...) }
	key := schema.Join(at, "push_key_file")
	if n.Push == "" {
		if n.PushKeyFile != "" {
			d.Warn(key, "has no effect without push")
		}
		return
	}
	_, err := nixopt.ParsePush(n.Push)
	say(no, schema.Join(at, "push"), err)
	if n.PushKeyFile == "" {
		no(key, "is missing: nobody takes paths from a cache without a signature; make a key with `nix-store --generate-binary-cache-key NAME FILE FILE.pub`")
		return
	}
	say(no, key, privateFile(n.PushKeyFile))
	switch {
	case n.Store == NixHost:
		d.Warn(schema.Join(at, "push"), "pushes nothing: only stores of store = %q are pushed from; let the machine's own daemon do it (post-build-hook in its nix.conf)", NixShared)
	case n.Store != NixShared:
	case n.Trust == NixTrustJob:
		d.Warn(schema.Join(at, "push"), "pushes nothing: with trust = %q a store goes with its job; set trust = %q", NixTrustJob, NixTrustProject)
	case n.PushFrom != NixPushAll && !n.Separates():
		d.Warn(schema.Join(at, "push"), "pushes nothing: with this trust no store is of protected refs alone; set trust = %q, or push_from = %q", NixTrustProtected, NixPushAll)
	}
}

// validateUse checks whether the jobs of r can have the store that it names, and warns of keys that say nothing then.
func (n *Nix) validateUse(r *Runner, d *schema.Decoder, at string) {
	store := schema.Join(at, "store")
	switch {
	case r.Executor == "kubernetes":
		refuse(d, r, store, "must be %q with the %s executor: Skerry has no Nix stores for it", NixOff, r.Executor)
	case r.Executor == "shell" && n.Store == NixShared:
		refuse(d, r, store, "cannot be %q with the shell executor, whose jobs have the machine's /nix: set it to %q, or use executor = \"docker\"", NixShared, NixHost)
	}
	if r.Executor == "shell" && n.Store == NixHost && n.HostStore == NixHostClosure {
		refuse(d, r, schema.Join(at, "host_store"), "cannot be %q with the shell executor, whose jobs have the machine's /nix: leave it out, or use executor = \"docker\"", NixHostClosure)
	}
	if n.Protected != nil && n.Store == NixShared && !n.Separates() {
		d.Warn(schema.Join(at, "protected"), "has no effect: with this trust protected refs share their store with others; set trust = %q", NixTrustProtected)
	}
	for _, key := range n.idle() {
		d.Warn(schema.Join(at, key), "has no effect with store = %q", n.Store)
	}
	if k := r.Docker; k != nil && r.Executor != "shell" {
		docker := schema.Join(schema.Element("runners", r.Index), "docker")
		k.validateBesideNix(func(path, format string, args ...any) { refuse(d, r, path, format, args...) }, docker)
		k.warnOfWaysAround(d.Warn, docker)
	}
}

// nixKey is a key of [runners.nix], and whether the file sets it.
type nixKey struct {
	key string
	set bool
}

// idle lists the keys that are set and mean nothing for the kind of store.
func (n *Nix) idle() []string {
	keys := []nixKey{{"host_socket", n.HostSocket != ""}, {"host_store", n.HostStore != ""}}
	if n.Store == NixHost {
		keys = []nixKey{
			{"trust", n.Trust != ""}, {"image", n.Image != ""}, {"substituters", n.Substituters != nil}, {"trusted_public_keys", n.TrustedPublicKeys != nil},
			{"extra_conf", n.ExtraConf != ""}, {"max_jobs", n.MaxJobs != 0}, {"cores", n.Cores != 0}, {"sandbox", n.Sandbox != ""},
			{"idle_timeout", n.IdleTimeout != nil}, {"keep_for", n.KeepFor != nil}, {"min_free", n.MinFree != ""}, {"collect_interval", n.CollectInterval != nil},
			{"protected", n.Protected != nil},
		}
	}
	var set []string
	for _, k := range keys {
		if k.set {
			set = append(set, k.key)
		}
	}
	return set
}

// validateSharedNix wants entries that share daemons with each other to want the same ones.
func validateSharedNix(c *Config, d *schema.Decoder) {
	first := map[string]*Runner{}
	for _, r := range c.Runners {
		if r.Nix == nil || r.Nix.Store != NixShared || r.Nix.Trust != NixTrustAll || r.Refused != nil {
			continue
		}
		engine := ""
		if r.Docker != nil {
			engine = r.Docker.Host
		}
		other := first[engine]
		if other == nil {
			first[engine] = r
			continue
		}
		a, b := *other.Nix, *r.Nix
		for _, k := range []struct {
			key  string
			a, b any
		}{
			{"image", a.Image, b.Image}, {"substituters", a.Substituters, b.Substituters}, {"trusted_public_keys", a.TrustedPublicKeys, b.TrustedPublicKeys},
			{"extra_conf", a.ExtraConf, b.ExtraConf}, {"max_jobs", a.MaxJobs, b.MaxJobs}, {"cores", a.Cores, b.Cores}, {"sandbox", a.Sandbox, b.Sandbox},
			{"idle_timeout", a.IdleTimeout, b.IdleTimeout}, {"keep_for", a.KeepFor, b.KeepFor}, {"min_free", a.MinFree, b.MinFree},
			{"collect_interval", a.CollectInterval, b.CollectInterval}, {"push", a.Push, b.Push}, {"push_key_file", a.PushKeyFile, b.PushKeyFile},
			{"push_from", a.PushFrom, b.PushFrom},
		} {
			if !reflect.DeepEqual(k.a, k.b) {
				refuse(d, r, schema.Join(schema.Join(schema.Element("runners", r.Index), "nix"), k.key),
					"must be the same as that of runners[%d], with which trust = %q shares a store and its daemon", other.Index, NixTrustAll)
			}
		}
	}
}

// privateFile reports why a file does not do for a secret key.
func privateFile(path string) error {
	i, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !i.Mode().IsRegular():
		return fmt.Errorf("%s is no file", path)
	case i.Mode().Perm()&0o007 != 0:
		return fmt.Errorf("%s can be read by every user of this machine (mode %04o): run chmod 600 on it", path, i.Mode().Perm())
	}
	raw, err := os.ReadFile(path)
	if err == nil {
		if _, _, err = nixopt.SecretKey(string(raw)); err != nil {
			err = fmt.Errorf("%s %w", path, err)
		}
	}
	return err
}

func validateCaches(no report, at string, substituters, keys []string) {
	for i, s := range substituters {
		say(no, schema.Element(schema.Join(at, "substituters"), i), nixopt.Address(s, "https", "http", "file", "s3", "ssh", "ssh-ng"))
	}
	for i, k := range keys {
		say(no, schema.Element(schema.Join(at, "trusted_public_keys"), i), nixopt.PublicKey(k))
	}
}
