package seed

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// copier copies trees as Nix keeps them, with hard links among all that it copies.
type copier struct{ links map[volumes.Inode]string }

func (c *copier) moved(from, to string) {
	for i, p := range c.links {
		if rest, ok := strings.CutPrefix(p, from); ok && (rest == "" || rest[0] == '/') {
			c.links[i] = to + rest
		}
	}
}

func (c *copier) copy(from, to string) error {
	if err := volumes.RemoveAll(to); err != nil {
		return err
	}
	return c.tree(from, to)
}

func (c *copier) tree(from, to string) error {
	i, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case i.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
	case i.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := c.tree(from+"/"+e.Name(), to+"/"+e.Name()); err != nil {
				return err
			}
		}
		if err := os.Chmod(to, 0o555); err != nil { //nolint:gosec // as Nix has it
			return err
		}
	case i.Mode().IsRegular():
		return c.file(from, to, i)
	default:
		return fmt.Errorf("%s is neither file, directory nor link", from)
	}
	return volumes.Settle(to)
}

func (c *copier) file(from, to string, i fs.FileInfo) error {
	id, several := volumes.Identify(i)
	if first := c.links[id]; several && first != "" {
		return os.Link(first, to)
	}
	mode := fs.FileMode(0o444)
	if i.Mode()&0o111 != 0 {
		mode = 0o555
	}
	if err := volumes.CopyFile(from, to, mode); err != nil {
		return err
	}
	if several {
		c.links[id] = to
	}
	return volumes.Settle(to)
}
