package nixdaemon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// memory is what is known of a domain beyond the process.
type memory struct {
	Spec    Spec     `json:"spec"`
	ImageID string   `json:"image_id,omitempty"` // that the daemon was made of last
	Scopes  []string `json:"scopes,omitempty"`   // of the runner entries whose jobs have it
	// When jobs had it last, when its store was collected, or it was new, and when that was tried.
	Used      time.Time `json:"used,omitzero"`
	Collected time.Time `json:"collected,omitzero"`
	Tried     time.Time `json:"tried,omitzero"`
	// Unused says that there may be paths that nothing holds.
	Unused bool `json:"unused,omitempty"`
	// Unpushed says that there may be something to push.
	Unpushed bool `json:"unpushed,omitempty"`
	// What the store had when it was looked at last.
	All    nixd.Share `json:"all,omitzero"`
	Recent nixd.Share `json:"recent,omitzero"`
	Dead   nixd.Share `json:"dead,omitzero"`
}

// become takes over what a job says of its domain, and reports whether that is new.
func (m *memory) become(s Spec, now time.Time) (changed bool) {
	changed = !reflect.DeepEqual(m.Spec, s)
	m.Spec, m.Used, m.Unused = s, now, true
	if s.Push != nil && !m.Unpushed {
		m.Unpushed, changed = true, true
	}
	if s.Scope != "" && !slices.Contains(m.Scopes, s.Scope) {
		m.Scopes = append(m.Scopes, s.Scope)
		slices.Sort(m.Scopes)
	}
	if m.Collected.IsZero() {
		m.Collected = now // what is new has nothing to collect
	}
	return changed
}

// record is the file at Options.Path.
type record struct {
	Domains map[string]memory `json:"domains"`
}

func readRecord(path string) (record, error) {
	var r record
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if os.IsNotExist(err) {
		err = nil
	}
	return r, err
}

// recall reads the record, once. The caller holds mu, like that of save.
func (k *Keeper) recall() {
	if k.read {
		return
	}
	k.read = true
	k.spawn(k.tend)
	if k.o.Path == "" {
		return
	}
	r, err := readRecord(k.o.Path)
	if err != nil {
		k.log.Warn("What an earlier process knew of the Nix stores is lost: they are looked after again when jobs use them", "error", err)
	}
	for name, m := range r.Domains {
		if m.Spec.Name() == name && k.domains[name] == nil {
			d := newDomain()
			d.memory = m
			d.push.wanted = m.Unpushed
			k.domains[name] = d
		}
	}
}

// save writes the record.
func (k *Keeper) save() {
	if k.o.Path == "" || !k.read {
		return
	}
	r := record{Domains: map[string]memory{}}
	for name, d := range k.domains {
		d.unsaved = false
		if d.Spec.Image != "" {
			r.Domains[name] = d.memory
		}
	}
	if err := r.write(k.o.Path); err != nil {
		k.log.Warn("What is known of the Nix stores cannot be written down: after a restart they are looked after again when jobs use them", "error", err)
	}
}

func (r record) write(path string) error {
	raw, err := json.Marshal(r)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return err
}

// Remembered is what a record says that others must not remove.
type Remembered struct {
	Images []string // names and IDs
	Agents []string // paths of agents' programs
}

// Remember reads what the record at path says. One that is not there says nothing.
func Remember(path string) (Remembered, error) {
	r, err := readRecord(path)
	var out Remembered
	for _, m := range r.Domains {
		for _, image := range []string{m.Spec.Image, m.ImageID} {
			if image != "" {
				out.Images = append(out.Images, image)
			}
		}
		if m.Spec.AgentPath != "" && m.Spec.Agent.Volume == "" {
			out.Agents = append(out.Agents, m.Spec.AgentPath)
		}
	}
	return out, err
}
