package worker

import "slices"

const opQueryPathInfo = 26

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
	if err := c.send(uint64(opQueryPathInfo), path); err != nil {
		return i, false, err
	}
	if err := c.listen(); err != nil {
		return i, false, err
	}
	there, err := c.number()
	if err != nil || there == 0 {
		return i, false, err
	}
	i.Path = path
	r := &results{c: c}
	i.Deriver, i.Hash, i.References = r.text(), r.text(), r.texts()
	_ = r.number()                         // when it was registered
	i.Size = int64(min(r.number(), 1<<62)) //nolint:gosec // it fits
	i.Built = r.number() != 0
	i.Signatures, i.CA = r.texts(), r.text()
	slices.Sort(i.References)
	return i, r.err == nil, r.err
}

// results reads parts of an answer until one cannot be read.
type results struct {
	c   *Conn
	err error
}

func (r *results) number() uint64 {
	if r.err != nil {
		return 0
	}
	var n uint64
	n, r.err = r.c.number()
	return n
}

func (r *results) text() string {
	if r.err != nil {
		return ""
	}
	var s string
	s, r.err = r.c.text()
	return s
}

func (r *results) texts() []string {
	if r.err != nil {
		return nil
	}
	var n uint64
	n, r.err = r.c.count()
	all := []string{}
	for ; n > 0 && r.err == nil; n-- {
		all = append(all, r.text())
	}
	return all
}
