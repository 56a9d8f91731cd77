package nixdaemon

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// lookAtSpace collects when too little is free.
func (k *Keeper) lookAtSpace(d *domain) {
	ctx, cancel := context.WithTimeout(k.ctx, lookTime)
	free, total, err := k.space(ctx, d)
	cancel()
	k.mu.Lock()
	now, name := time.Now(), d.Spec.Name()
	least := d.Spec.Collect.Least(total)
	if err != nil || free >= least {
		count := past(now, d.weighed, weighEvery)
		if count {
			d.weighed = now
		}
		k.mu.Unlock()
		if err != nil {
			k.log.Debug("How much is free for a Nix store is not known", "store", name, "error", err)
		}
		if count {
			k.weigh(d)
		}
		return
	}
	for _, other := range k.domains { // they are on the same disk, most likely
		if other != d && other.Unused {
			other.look = true
		}
	}
	k.wakeTender()
	may := !now.Before(d.scarce) && (!d.sleeps() || d.wakeable(now))
	if may {
		d.Tried = now
	}
	k.mu.Unlock()
	if may {
		k.collectBeside(d, Order{}, "less than min_free is free")
	}
}

// weighEvery is how long it is at least between two times that a store is asked after a job what is in it.
const weighEvery = 10 * time.Minute

// weigh has a daemon that runs say what is in its store: the disk budget counts it.
func (k *Keeper) weigh(d *domain) {
	ctx, cancel := context.WithTimeout(k.ctx, lookTime)
	defer cancel()
	k.mu.Lock()
	s, asleep := d.Spec, d.sleeps()
	k.mu.Unlock()
	if asleep {
		return
	}
	var stat nixd.Stat
	if state, err := k.state(ctx, s); err != nil || state != Running || k.ask(ctx, s, &stat, nixd.CommandStat) != nil {
		return // it is known from the last time
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	d.counted(stat)
	k.save()
}

// lookTime bounds one look at the free space.
const lookTime = time.Minute

// errAsleep says that a daemon that does not run cannot be asked.
var errAsleep = errors.New("its daemon does not run")

// space is how much is free for a store: by this machine's file system where the store is on one, else by its daemon if
// that runs.
func (k *Keeper) space(ctx context.Context, d *domain) (free, total int64, err error) {
	k.mu.Lock()
	s, mount := d.Spec, d.mount
	k.mu.Unlock()
	if mount == "" {
		if mount, err = k.findMount(ctx, s); err != nil {
			return 0, 0, err
		}
		k.mu.Lock()
		d.mount = mount
		k.mu.Unlock()
	}
	if mount != noMount {
		return measure(mount)
	}
	if state, err := k.state(ctx, s); err != nil || state != Running {
		return 0, 0, errors.Join(errAsleep, err)
	}
	var i nixd.Info
	err = k.ask(ctx, s, &i, nixd.CommandInfo)
	return i.Free, i.Total, err
}

const noMount = "-"

// findMount finds the store's directory on this machine.
func (k *Keeper) findMount(ctx context.Context, s Spec) (string, error) {
	e, err := k.connect(ctx)
	if err != nil || !strings.HasPrefix(e.Address.Host, "unix://") {
		return noMount, err
	}
	volumes, err := e.StoredVolumes(ctx, nixspec.LabelDomain, s.Domain)
	for _, v := range volumes {
		if v.Name != s.Volumes().Store || !path.IsAbs(v.Mountpoint) {
			continue
		}
		if _, _, err := measure(v.Mountpoint); err == nil {
			return v.Mountpoint, nil
		}
	}
	return noMount, err
}

func measure(dir string) (free, total int64, err error) {
	var f unix.Statfs_t
	if err := unix.Statfs(dir, &f); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(f.Bavail) * f.Bsize, int64(f.Blocks) * f.Bsize, nil //nolint:gosec // no disk is that large
}

// Relieve has so many bytes collected beside the jobs, because something else than the file system is short of them: the
// stores whose daemons run first. It returns at once, and does nothing where that was done lately.
func (k *Keeper) Relieve(bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recall()
	now := time.Now()
	var chosen *domain
	for _, d := range k.domains {
		if d.Spec.Alone() || !d.Unused || now.Before(d.relieved) || len(d.collecting) > 0 || d.sleeps() && !d.wakeable(now) {
			continue
		}
		if chosen == nil || !d.sleeps() && chosen.sleeps() || d.sleeps() == chosen.sleeps() && d.Used.Before(chosen.Used) {
			chosen = d
		}
	}
	if chosen != nil {
		chosen.relieved, chosen.Tried = now.Add(scarceFor), now
		k.spawn(func() { k.collectBeside(chosen, Order{More: bytes}, "the disk budget is exceeded") })
	}
}
