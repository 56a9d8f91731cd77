package disk

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// When the disk is looked at.
const (
	firstAfter = 30 * time.Second // after the first event of the process
	atMost     = 3 * time.Minute  // between two looks
	urgently   = 20 * time.Second // between two looks before pulls
	sweepTime  = 10 * time.Minute // for one look with all removals
	// margin is the share of the budget that is made free before a pull when little is left.
	margin = 0.05
	// warnEvery is the time between two warnings that a budget cannot be kept.
	warnEvery = time.Hour
	// gateTime is how long a job waits for the eviction of the very image that it needs.
	gateTime = 5 * time.Second
)

// Eviction is one thing that was removed.
type Eviction struct {
	Kind Kind
	Size int64
}

// Options is what a Keeper is made of.
type Options struct {
	Owner      string // value of LabelOwner on what is the runner's
	LabelOwner string
	Path       string // of the record of what was used when
	// Engine connects to the engine.
	Engine func(context.Context) (*engineapi.Engine, error)
	// InUse are the names of the images that jobs have or are about to have.
	InUse func() ([]string, error)
	// Lease takes the volumes that belong together with one, so that no job gets them until release is
	// called; false when a job has them, or when the volume is none that jobs use again.
	Lease func(volume string) (release func(), ok bool)
	// Sizes are what volumes of Nix stores occupy, by name, as far as it is known; nil: it never is.
	Sizes func() map[string]int64
	// Short is told by how much the budget is exceeded when nothing more may be evicted; nil: nobody is.
	Short func(over int64)
	// Caches reports whether a volume holds archives of caches.
	Caches  func(volume string) bool
	Evicted func(Eviction)    // told of each eviction; nil: nobody is
	Used    func(bytes int64) // told what the runner's things occupy; nil: nobody is
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
	Every   time.Duration    // between two looks; 0: atMost
}

// Keeper keeps one engine's disk within a budget. It is safe for concurrent use.
type Keeper struct {
	o Options

	mu       sync.Mutex
	ledger   *ledger
	dirty    bool
	policies map[string]Policy // by runner entry
	sizes    map[string]weight // of volumes
	pins     []string          // names of images that every job needs
	gate     refs              // of the image that is being evicted; nil: none
	opened   chan struct{}     // closed when that is done
	next     *time.Timer       // of the next look
	due      time.Time         // when it is; zero: none
	free     float64           // the share of the budget that it makes free besides
	under    bool              // a look is under way
	again    time.Duration     // how long after it another one is wanted; 0: none is
	last     time.Time         // when the last one ended
	closed   bool
	busy     sync.WaitGroup
	stop     context.CancelFunc
	ctx      context.Context //nolint:containedctx // of the looks at the disk, until Close
	looking  sync.Mutex
	eachTime time.Duration // eachTime and allTime, but in tests
	allTime  time.Duration

	warned    time.Time // of a budget that is not kept; guarded by looking, like
	complaint string    // of the last look
}

// New returns a keeper that has nothing to do yet. The caller closes it.
func New(o Options) *Keeper {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every == 0 {
		o.Every = atMost
	}
	k := &Keeper{o: o, policies: map[string]Policy{}, sizes: map[string]weight{}, eachTime: eachTime, allTime: allTime}
	k.ctx, k.stop = context.WithCancel(context.Background())
	var err error
	if k.ledger, err = openLedger(o.Path); err != nil {
		o.Log.Warn("It is not known any more which images this runner has pulled: those that are there now are not evicted", "error", err)
	}
	return k
}

// Set tells the policy of a runner entry.
func (k *Keeper) Set(entry string, p Policy) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.policies[entry] = p
}

func (k *Keeper) policy() Policy {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all *Policy
	for _, p := range k.policies {
		if all != nil {
			p = all.join(p)
		}
		all = &p
	}
	if all == nil {
		return Policy{}
	}
	return *all
}

// Wait is called before a job looks for an image, after its need of it can be seen by Options.InUse. It returns at
// once, unless that very image is being removed.
func (k *Keeper) Wait(ctx context.Context, ref string) {
	k.mu.Lock()
	gate, opened := k.gate, k.opened
	k.mu.Unlock()
	if gate == nil || !gate.has(ref) {
		return
	}
	began := time.Now()
	timer := time.NewTimer(gateTime)
	defer timer.Stop()
	select {
	case <-opened:
	case <-timer.C:
	case <-ctx.Done():
	}
	k.o.Log.Debug("A job has waited for the eviction of its image", "image", ref, "waited", time.Since(began))
}

// Pin keeps the image ref from being evicted until Close: the one that every job needs. It reports whether that
// is new: then the image may have gone before.
func (k *Keeper) Pin(ref string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Contains(k.pins, ref) {
		return false
	}
	k.pins = append(k.pins, ref)
	return true
}

// inUse are the names of images that are not evicted now.
func (k *Keeper) inUse() (refs, error) {
	names, err := k.o.InUse()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return newRefs(slices.Concat(names, k.pins)...), nil
}

// Need notes that a job needs the image id.
func (k *Keeper) Need(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ledger.used(id, k.o.Now())
	k.dirty = true
}

// Volumes notes that a job has these volumes.
func (k *Keeper) Volumes(names ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range names {
		k.ledger.data.Volumes[n] = k.o.Now()
	}
	k.dirty = true
}

// Pull notes that ref is about to be pulled, which is the image before ("" for none) now, and makes space if
// little is left, beside the pull. done is told what the name is afterwards, "" when the pull failed.
func (k *Keeper) Pull(ref, before string) (done func(after string)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ledger.data.Pulling[ref] = before
	k.save()
	if len(k.policies) > 0 {
		k.free = margin
		k.schedule(urgently, k.soon(urgently))
	}
	return func(after string) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.ledger.pulled(ref, before, after, k.o.Now())
		k.save()
	}
}

// save writes the ledger. The caller holds mu.
func (k *Keeper) save() {
	if err := k.ledger.write(); err != nil {
		k.o.Log.Warn("What jobs use of the engine's disk cannot be remembered", "error", err)
	}
	k.dirty = false
}

// Look lets the disk be looked at, soon. It returns at once.
func (k *Keeper) Look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	in := k.soon(k.o.Every)
	if k.last.IsZero() {
		in = min(firstAfter, k.o.Every)
	}
	k.schedule(k.o.Every, in)
}

// soon is how long it is until a look that is to be at least pause after the last one.
func (k *Keeper) soon(pause time.Duration) time.Duration {
	return max(k.last.Add(pause).Sub(k.o.Now()), 0)
}

// schedule makes a look after in, unless one is due before. While one is under way the next is made pause after its
// end: looks that take long do not pile up. The caller holds mu.
func (k *Keeper) schedule(pause, in time.Duration) {
	if k.under && (k.again == 0 || pause < k.again) {
		k.again = pause
	}
	due := k.o.Now().Add(in)
	if k.closed || k.under || !k.due.IsZero() && !due.Before(k.due) {
		return
	}
	if k.next != nil && k.next.Stop() {
		k.busy.Done()
	}
	k.due = due
	k.busy.Add(1)
	k.next = time.AfterFunc(in, func() {
		defer k.busy.Done()
		k.background()
	})
}

// background is a look that schedule has made.
func (k *Keeper) background() {
	k.mu.Lock()
	k.due, k.next = time.Time{}, nil
	free := k.free
	k.under, k.free, k.again = true, 0, 0
	k.mu.Unlock()
	k.now(k.ctx, free)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.under = false
	if k.again > 0 {
		k.schedule(k.again, k.soon(k.again))
	}
}

// Now looks at the disk, and returns when what has to go is gone.
func (k *Keeper) Now(ctx context.Context) { k.now(ctx, 0) }

func (k *Keeper) now(ctx context.Context, free float64) {
	k.looking.Lock()
	defer k.looking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	complaint := ""
	if err := k.sweep(ctx, k.policy(), free); err != nil && ctx.Err() == nil {
		level := slog.LevelWarn
		if complaint = err.Error(); complaint == k.complaint {
			level = slog.LevelDebug
		}
		k.o.Log.Log(ctx, level, "The engine's disk could not be cleaned up; it is tried again after the next job", "error", err)
	}
	k.complaint = complaint
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = k.o.Now()
	if k.dirty {
		k.save()
	}
}

// Close ends the looks at the disk and waits for one that is under way.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true
	if k.next != nil && k.next.Stop() {
		k.busy.Done()
	}
	k.next = nil
	k.mu.Unlock()
	k.stop()
	k.busy.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dirty {
		k.save()
	}
}

// pulls are those that were under way when an earlier process ended, or are now.
func (k *Keeper) pulls() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.ledger.data.Pulling)
}
