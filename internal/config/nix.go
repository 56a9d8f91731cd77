package config

import (
	"time"

	"gitlab.com/skerry/skerry/internal/nixopt"
)

// Nix is [runners.nix], Skerry's own: the Nix store that jobs of a runner have.
type Nix struct {
	Store string `toml:"store" flag:"store" help:"off, shared (a daemon of Skerry's own) or host (the machine's daemon)"` // default NixOff
	Trust string `toml:"trust" flag:"trust" help:"who shares one store: all, runner, protected, project or job"`          // default NixTrustRunner
	Path  bool   `toml:"path" flag:"path" help:"put the store's Nix first in PATH of all jobs"`

	// The daemon of a shared store.
	Image             string         `toml:"image" flag:"image" help:"image of the daemon, any that has Nix"` // default DefaultNixImage
	Substituters      []string       `toml:"substituters" flag:"substituters"`                                // nil: those of Nix
	TrustedPublicKeys []string       `toml:"trusted_public_keys" flag:"trusted-public-keys"`                  // nil: those of Nix
	ExtraConf         string         `toml:"extra_conf" flag:"extra-conf"`                                    // lines of a nix.conf
	MaxJobs           int            `toml:"max_jobs" flag:"max-jobs"`                                        // builds at once; 0: one for each processor
	Cores             int            `toml:"cores" flag:"cores"`                                              // of one build; 0: all
	Sandbox           string         `toml:"sandbox" flag:"sandbox" help:"required, auto or off"`             // default NixSandboxAuto
	IdleTimeout       *time.Duration `toml:"idle_timeout" flag:"idle-timeout"`                                // default 10m; 0: it is never stopped

	// What of a shared store is collected, and when.
	KeepFor         *time.Duration `toml:"keep_for" flag:"keep-for"`                 // default 168h; since a job last had the path
	MinFree         string         `toml:"min_free" flag:"min-free"`                 // default "10%"; see ParseFree
	CollectInterval *time.Duration `toml:"collect_interval" flag:"collect-interval"` // default 1h; 0: only when asked and when space runs short

	// The machine's own daemon.
	HostSocket string `toml:"host_socket" flag:"host-socket"` // default DefaultNixSocket
	HostStore  string `toml:"host_store" flag:"host-store"`   // default NixHostWhole

	// Protected replaces settings for the stores of protected refs alone.
	Protected *NixProtected `toml:"protected" ns:"protected"`

	// What jobs have built is pushed to a binary cache.
	Push        string `toml:"push" flag:"push" help:"binary cache that what jobs build is pushed to: file://, s3:// or https://"` // see nixopt.ParsePush
	PushKeyFile string `toml:"push_key_file" flag:"push-key-file" help:"file with the secret key to sign with"`                    // relative to the configuration
	PushFrom    string `toml:"push_from" flag:"push-from" help:"protected or all"`                                                 // default NixPushProtected
}

// NixProtected is [runners.nix.protected]: what the stores of protected refs have instead, where protected
// refs have stores of their own.
type NixProtected struct {
	Substituters      []string `toml:"substituters" flag:"substituters"`               // nil: those of [runners.nix]
	TrustedPublicKeys []string `toml:"trusted_public_keys" flag:"trusted-public-keys"` // nil: those of [runners.nix]
}

// The values of Nix.Store.
const (
	NixOff    = "off"
	NixShared = "shared"
	NixHost   = "host"
)

// The values of Nix.Trust, from the least to the most separation.
const (
	NixTrustAll       = "all"       // every entry with this trust and the same engine
	NixTrustRunner    = "runner"    // the jobs of one entry
	NixTrustProtected = "protected" // of one entry, protected refs apart from the rest
	NixTrustProject   = "project"   // of one project on one entry, protected refs apart
	NixTrustJob       = "job"       // nobody
)

// The values of Nix.Sandbox.
const (
	NixSandboxRequired = "required"
	NixSandboxAuto     = "auto"
	NixSandboxOff      = "off"
)

// The values of Nix.HostStore.
const (
	NixHostWhole   = "whole"
	NixHostClosure = "closure"
)

// The values of Nix.PushFrom.
const (
	NixPushProtected = "protected"
	NixPushAll       = "all"
)

// What [runners.nix] has unless it says otherwise.
const (
	// DefaultNixImage is the name under which `skerry image build nix-daemon` leaves its image.
	DefaultNixImage  = "localhost/skerry-nix-daemon"
	DefaultNixSocket = "/nix/var/nix/daemon-socket/socket"
)

// Enabled reports whether jobs have a Nix store. n may be nil.
func (n *Nix) Enabled() bool { return n != nil && n.Store != NixOff && n.Store != "" }

// Separates reports whether protected refs have stores of their own.
func (n *Nix) Separates() bool {
	return n.Trust == NixTrustProtected || n.Trust == NixTrustProject || n.Trust == NixTrustJob
}

// Caches returns where the daemon of protected or other refs may take paths from and whose signatures count
// then; nil leaves it to Nix.
func (n *Nix) Caches(protected bool) (substituters, keys []string) {
	substituters, keys = n.Substituters, n.TrustedPublicKeys
	if !protected || n.Protected == nil || !n.Separates() {
		return substituters, keys
	}
	if n.Protected.Substituters != nil {
		substituters = n.Protected.Substituters
	}
	if n.Protected.TrustedPublicKeys != nil {
		keys = n.Protected.TrustedPublicKeys
	}
	return substituters, keys
}

// ConfLines are the lines of ExtraConf, "name = value", without comments and empty ones.
func (n *Nix) ConfLines() []string { return nixopt.Lines(n.ExtraConf) }

func (n *Nix) setDefaults() {
	for _, s := range []struct {
		value     *string
		otherwise string
	}{
		{&n.Store, NixOff},
		{&n.Trust, NixTrustRunner},
		{&n.Image, DefaultNixImage},
		{&n.Sandbox, NixSandboxAuto},
		{&n.MinFree, "10%"},
		{&n.HostSocket, DefaultNixSocket},
		{&n.HostStore, NixHostWhole},
		{&n.PushFrom, NixPushProtected},
	} {
		if *s.value == "" {
			*s.value = s.otherwise
		}
	}
	present(&n.IdleTimeout, 10*time.Minute)
	present(&n.KeepFor, 7*24*time.Hour)
	present(&n.CollectInterval, time.Hour)
}
