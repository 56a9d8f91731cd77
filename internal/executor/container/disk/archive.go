package disk

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// archiveNames are those of a cache's archive, as the stage that saves caches makes them.
var archiveNames = []string{"cache.zip", "cache.tar.zst"} //nolint:gochecknoglobals // constant

// maxArchives bounds how many files are looked at in one volume: jobs can make any number.
const maxArchives = 100_000

// archives finds the archives of caches in volumes that this process can look into. The bytes are taken
// from the volume's own, so that nothing counts twice.
func (s *sweep) archives(volumes []engineapi.StoredVolume) {
	for _, v := range volumes {
		if v.Mountpoint == "" || keeps(v.Labels) || !s.k.o.Caches(v.Name) {
			continue
		}
		found := archivesIn(v.Mountpoint, v.Name)
		at := slices.IndexFunc(s.items, func(i Item) bool { return i.Kind == Volume && i.Name == v.Name })
		if at >= 0 {
			s.items[at].Size = max(s.items[at].Size-total(found), 0)
		}
		s.items = append(s.items, found...)
	}
}

// archivesIn looks through a directory that belongs to jobs: nothing in it leads out of it. An engine on
// another machine has none that is here.
func archivesIn(dir, volume string) (items []Item) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil
	}
	defer root.Close()
	seen := 0
	_ = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if seen++; seen > maxArchives {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() || !slices.Contains(archiveNames, d.Name()) {
			return nil //nolint:nilerr // what cannot be read is not evicted
		}
		if i, err := d.Info(); err == nil {
			items = append(items, Item{Kind: Archive, Name: p, In: volume, Root: dir, Size: onDisk(i), Used: lastUse(i)})
		}
		return nil
	})
	return items
}

// lastUse is when an archive was read or written last. Most file systems note the reading once a day.
func lastUse(i fs.FileInfo) time.Time {
	used := i.ModTime()
	if st, ok := i.Sys().(*syscall.Stat_t); ok {
		if read := time.Unix(st.Atim.Unix()); read.After(used) {
			used = read
		}
	}
	return used
}

func onDisk(i fs.FileInfo) int64 {
	if st, ok := i.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return i.Size()
}

// evictArchive removes an archive and the directories that it leaves empty.
func (s *sweep) evictArchive(i Item) (gone bool, err error) {
	release, ok := s.k.o.Lease(i.In)
	if !ok {
		return false, nil
	}
	defer release()
	root, err := os.OpenRoot(i.Root)
	if err != nil {
		return false, nil // the volume is gone
	}
	defer root.Close()
	now, err := root.Lstat(i.Name)
	if err != nil || lastUse(now).After(i.Used) {
		return false, nil // somebody was quicker, or has used it since
	}
	if err := root.Remove(i.Name); err != nil {
		return false, nil // another user's: the volume itself remains to be evicted
	}
	for dir := path.Dir(i.Name); dir != "."; dir = path.Dir(dir) {
		if root.Remove(dir) != nil {
			break
		}
	}
	return true, nil
}
