package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Initialize has Nix make its database, unless there is one: two programs that find none, each in the belief of being the
// first, may read what the other has not written yet. The caller owns the volumes, and nothing of Nix is at work in them.
// A version that is empty is of a program that was killed in the middle of its first start, before there was any path.
// Source: Nix, src/libstore/local-store.cc, the constructor of LocalStore: db/schema is written behind the lock that others share.
func Initialize(ctx context.Context, l Layout, nix Program) error {
	schema := l.State() + "/db/schema"
	if i, err := os.Lstat(schema); err == nil && i.Size() > 0 {
		return nil
	}
	if err := os.Remove(schema); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := nix.Run(ctx, nil, "nix-store", "--init"); err != nil {
		return fmt.Errorf("make the store's database: %w", err)
	}
	return nil
}
