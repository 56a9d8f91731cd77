package nixconn

import (
	"errors"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Call asks the daemon for one thing and returns its answer. A *FailureError says that there is none.
func (c *Conn) Call(v nixwire.Version, op nixwire.Op, request []nixwire.Token, relay func(*nixwire.Message) error) ([]nixwire.Token, error) {
	c.W.Uint64(uint64(op))
	nixwire.Write(c.W, request)
	if err := c.W.Flush(); err != nil {
		return nil, err
	}
	if err := c.Last(relay); err != nil {
		return nil, err
	}
	shape, _ := nixwire.Lookup(op)
	return nixwire.Read(c.R, v, shape.Answer, &nixwire.Limit{Left: MaxAnswer})
}

// batch is how many bytes of requests are written before their answers are read: as many as a socket takes, so that
// neither side waits for the other.
const batch = 16 << 10

// Each asks the daemon the same of many paths, many at once. answered gets what the daemon answers; a failure of one
// is passed over.
func (c *Conn) Each(v nixwire.Version, op nixwire.Op, paths []nixwire.StorePath, relay func(*nixwire.Message) error,
	answered func(nixwire.StorePath, []nixwire.Token),
) error {
	for len(paths) > 0 {
		n := c.ask(op, paths)
		if err := c.W.Flush(); err != nil {
			return err
		}
		if err := c.hear(v, op, paths[:n], relay, answered); err != nil {
			return err
		}
		paths = paths[n:]
	}
	return nil
}

// ask writes requests about the first of paths, and returns about how many.
func (c *Conn) ask(op nixwire.Op, paths []nixwire.StorePath) int {
	n, size := 0, 0
	for ; n < len(paths) && size < batch; n++ {
		size += len(paths[n]) + 16
		c.W.Uint64(uint64(op))
		c.W.String(string(paths[n]))
	}
	return n
}

// hear reads the answers to ask's requests.
func (c *Conn) hear(v nixwire.Version, op nixwire.Op, paths []nixwire.StorePath, relay func(*nixwire.Message) error,
	answered func(nixwire.StorePath, []nixwire.Token),
) error {
	shape, _ := nixwire.Lookup(op)
	for _, p := range paths {
		var failed *FailureError
		if err := c.Last(relay); errors.As(err, &failed) && op != nixwire.AddTempRoot { // a root that is missing matters
			continue
		} else if err != nil {
			return err
		}
		answer, err := nixwire.Read(c.R, v, shape.Answer, &nixwire.Limit{Left: MaxAnswer})
		if err != nil {
			return err
		}
		if answered != nil {
			answered(p, answer)
		}
	}
	return nil
}

// Root makes temporary roots of paths, and asks for each after that whether it is valid.
func (c *Conn) Root(v nixwire.Version, paths []nixwire.StorePath, relay func(*nixwire.Message) error) (map[nixwire.StorePath]bool, error) {
	valid := make(map[nixwire.StorePath]bool, len(paths))
	for len(paths) > 0 {
		n := c.ask(nixwire.AddTempRoot, paths)
		c.askValid(paths[:n])
		if err := c.W.Flush(); err != nil {
			return nil, err
		}
		if err := c.hear(v, nixwire.AddTempRoot, paths[:n], relay, nil); err != nil {
			return nil, err
		}
		if err := c.hearValid(v, relay, valid); err != nil {
			return nil, err
		}
		paths = paths[n:]
	}
	return valid, nil
}

// MaxAnswer bounds what an answer takes in memory.
const MaxAnswer = 64 << 20

func (c *Conn) askValid(paths []nixwire.StorePath) {
	c.W.Uint64(uint64(nixwire.QueryValidPaths))
	c.W.Uint64(uint64(len(paths)))
	for _, p := range paths {
		c.W.String(string(p))
	}
	c.W.Uint64(0) // without substitution
}

func (c *Conn) hearValid(v nixwire.Version, relay func(*nixwire.Message) error, valid map[nixwire.StorePath]bool) error {
	if err := c.Last(relay); err != nil {
		return err
	}
	shape, _ := nixwire.Lookup(nixwire.QueryValidPaths)
	answer, err := nixwire.Read(c.R, v, shape.Answer, &nixwire.Limit{Left: MaxAnswer})
	for _, p := range Paths(answer) {
		valid[p] = true
	}
	return err
}

// Paths are the store paths in a message, as they are checked when it is read.
func Paths(tokens []nixwire.Token) []nixwire.StorePath {
	var paths []nixwire.StorePath
	for _, t := range tokens {
		if (t.Kind == nixwire.Path || t.Kind == nixwire.OptPath) && t.Str != "" {
			paths = append(paths, nixwire.StorePath(t.Str))
		}
	}
	return paths
}
