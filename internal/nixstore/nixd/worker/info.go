package worker

import (
	"slices"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Info is what the daemon's database says of a valid path.
type Info struct {
	Path       string   `json:"path"`
	Hash       string   `json:"hash"`       // SHA-256 of its archive in hexadecimal
	Size       int64    `json:"size"`       // of its archive in bytes
	References []string `json:"references"` // paths, itself perhaps among them
	Deriver    string   `json:"deriver,omitempty"`
	Signatures []string `json:"signatures,omitempty"`
	CA         string   `json:"ca,omitempty"`    // how its name follows from its content, if it does
	Built      bool     `json:"built,omitempty"` // by this store's daemon
}

// Info describes a path; valid is false when there is none.
func (c *Conn) Info(path string) (i Info, valid bool, err error) {
	p, err := nixwire.ParseStorePath(path)
	if err != nil {
		return i, false, err
	}
	answer, err := c.conn.Call(c.version, nixwire.QueryPathInfo, []nixwire.Token{{Kind: nixwire.Path, Str: string(p)}}, nil)
	if err != nil || answer[0].Int == 0 {
		return i, false, err
	}
	// In the order of nixwire.InfoShape.
	left := parts(answer[1:])
	i.Path = path
	i.Deriver, i.Hash, i.References = left.text(), left.text(), left.texts()
	left.number() // when it was registered
	i.Size = size(left.number())
	i.Built = left.number() != 0
	i.Signatures, i.CA = left.texts(), left.text()
	slices.Sort(i.References)
	return i, true, nil
}

// parts are the rest of a message that has the right shape.
type parts []nixwire.Token

func (p *parts) next() nixwire.Token {
	t := (*p)[0]
	*p = (*p)[1:]
	return t
}

func (p *parts) number() uint64 { return p.next().Int }

func (p *parts) text() string { return p.next().Str }

func (p *parts) texts() []string {
	all := []string{}
	for range p.number() {
		all = append(all, p.text())
	}
	return all
}

// size is a number of bytes, which no store has more of.
func size(n uint64) int64 { return int64(min(n, 1<<62)) } //nolint:gosec // it fits
