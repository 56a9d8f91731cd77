package volumes

import (
	"encoding/json"
	"os"
)

// Seeded is the answer of CommandSeed. It is remembered on the state's volume.
type Seeded struct {
	Format int      `json:"format"` // of what follows; others are made anew
	Image  string   `json:"image"`
	Nix    string   `json:"nix"`           // version of the image's
	Daemon string   `json:"daemon"`        // directory of its programs in the daemon's container
	Tools  string   `json:"tools"`         // directory in the store with programs for jobs whose image has no Nix, or empty
	Certs  string   `json:"certs"`         // file in the store with the certificates of authorities, or empty
	Why    string   `json:"why,omitempty"` // there are no tools
	Seeded int      `json:"seeded"`        // store paths that were brought in this time
	Roots  []string `json:"roots"`         // what is pinned, for who wants to hold it longer: basenames
}

// SeedPrefix begins names in the store of what is being copied there.
const SeedPrefix = ".skerry-"

func (l Layout) seededFile() string { return l.Memory() + "/seeded.json" }

// ReadSeeded reads what the last seeding has left.
func ReadSeeded(l Layout) (Seeded, error) {
	var s Seeded
	raw, err := os.ReadFile(l.seededFile())
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(raw, &s)
}

// Save remembers it.
func (s Seeded) Save(l Layout) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return Write(l.seededFile(), 0o644, raw)
}
