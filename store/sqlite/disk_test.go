package sqlite

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/ringback/ringback/internal/body"
)

// disk is a disk in memory whose power can be cut. It is the file system of a
// store (vfs.VFS) and of its bodies (body.FS), and keeps a log of all that was
// done to it. What the log says was written and not synced may be lost, in part
// or whole: image makes the disk that is left.
type disk struct {
	shm string // where the wal-index of a store is; it does not outlive a cut

	mu    sync.Mutex
	files int // ids given
	names map[string]*inode
	dirs  map[string]map[string]*inode // the same, by folder
	base  map[string]*inode            // names before the log
	log   []event
	fault func(e event) error // breaks a write or a sync; nil breaks none
	lies  func(e event) bool  // syncs that are reported and not done; nil is none
}

// inode is a file or a folder, whatever its names.
type inode struct {
	id   int
	dir  bool
	data []byte
	own  bool // data belongs to no other disk

	shared              int // holders of the lock
	reserved, exclusive bool
}

type eventKind uint8

const (
	evMake eventKind = iota + 1
	evRename
	evRemove
	evWrite
	evTruncate
	evSync
	evSyncDir
	evSyncFailed
)

// event is one thing that was done to a disk.
type event struct {
	kind eventKind
	node *inode // but for evSyncDir
	name string // of evMake, evRemove, evRename (the old one), evSyncDir; else informative
	to   string // evRename
	off  int64  // evWrite, evTruncate
	data []byte // evWrite
}

func (e event) isSync() bool {
	return e.kind == evSync || e.kind == evSyncDir || e.kind == evSyncFailed
}

func newDisk(t testing.TB) *disk {
	t.Helper()
	return diskOf(t, t.TempDir(), map[string]*inode{})
}

var disks atomic.Int64 // made, for their names

// diskOf makes a disk with durable content, and the VFS of its name.
func diskOf(t testing.TB, dir string, base map[string]*inode) *disk {
	t.Helper()
	d := &disk{shm: filepath.Join(dir, fmt.Sprint("disk-", disks.Add(1))), names: map[string]*inode{}, dirs: map[string]map[string]*inode{}, base: base}
	for name, n := range base {
		d.link(name, &inode{id: n.id, dir: n.dir, data: n.data})
		d.files = max(d.files, n.id)
	}
	vfs.Register(d.shm, d)
	t.Cleanup(func() { vfs.Unregister(d.shm) })
	return d
}

// link gives a file a name.
func (d *disk) link(name string, n *inode) {
	d.names[name] = n
	dir := dirOf(name)
	if d.dirs[dir] == nil {
		d.dirs[dir] = map[string]*inode{}
	}
	d.dirs[dir][name] = n
}

func (d *disk) unlink(name string) {
	delete(d.names, name)
	delete(d.dirs[dirOf(name)], name)
}

// dirOf is path.Dir of a clean path.
func dirOf(name string) string { return name[:max(strings.LastIndexByte(name, '/'), 1)] }

// record does what e says, unless a fault breaks it; mu is held.
func (d *disk) record(e event, do func()) error {
	if d.fault != nil {
		if err := d.fault(e); err != nil {
			if e.kind == evSync {
				// What was to be synced counts as clean from now on, wherever it is.
				e.kind = evSyncFailed
				d.log = append(d.log, e)
			}
			return err
		}
	}
	if e.isSync() && d.lies != nil && d.lies(e) {
		return nil
	}
	if do != nil {
		do()
	}
	d.log = append(d.log, e)
	return nil
}

// position is how much has happened.
func (d *disk) position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// open opens or makes a file; mu is held.
func (d *disk) open(name string, flag int) (*inode, error) {
	n := d.names[name]
	switch {
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case n != nil && flag&os.O_TRUNC != 0:
		e := event{kind: evTruncate, node: n, name: name}
		return n, d.record(e, func() { n.apply(e) })
	case n != nil:
		return n, nil
	case flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	}
	return d.make(name, false)
}

func (d *disk) make(name string, dir bool) (*inode, error) {
	if parent := dirOf(name); parent != "/" && (d.names[parent] == nil || !d.names[parent].dir) {
		return nil, fs.ErrNotExist
	}
	d.files++
	n := &inode{id: d.files, dir: dir}
	return n, d.record(event{kind: evMake, node: n, name: name}, func() { d.link(name, n) })
}

func (d *disk) read(n *inode, b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off >= int64(len(n.data)) {
		return 0, io.EOF
	}
	c := copy(b, n.data[off:])
	if c < len(b) {
		return c, io.EOF
	}
	return c, nil
}

func (d *disk) write(n *inode, name string, b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := event{kind: evWrite, node: n, name: name, off: off, data: slices.Clone(b)}
	if err := d.record(e, func() { n.apply(e) }); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (d *disk) sync(n *inode, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record(event{kind: evSync, node: n, name: name}, nil)
}

// grow makes room for a write.
func (n *inode) grow(e event) {
	if !n.own {
		n.data, n.own = slices.Clone(n.data), true
	}
	if more := e.off + int64(len(e.data)) - int64(len(n.data)); more > 0 {
		n.data = append(n.data, make([]byte, more)...)
	}
}

// apply does a write or truncation.
func (n *inode) apply(e event) {
	n.grow(e)
	if e.kind == evTruncate {
		n.data = n.data[:e.off:e.off]
		return
	}
	copy(n.data[e.off:], e.data)
}

// Remove, Rename, Mkdir, ReadDir, SyncDir and OpenFile make a disk a body.FS.

// Remove implements body.FS.
func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	if n == nil {
		return fs.ErrNotExist
	}
	return d.record(event{kind: evRemove, node: n, name: name}, func() { d.unlink(name) })
}

// Rename implements body.FS.
func (d *disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	return d.record(event{kind: evRename, node: n, name: from, to: to}, func() {
		d.unlink(from)
		d.link(to, n)
	})
}

// Mkdir implements body.FS.
func (d *disk) Mkdir(name string, _ fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] != nil {
		return fs.ErrExist
	}
	_, err := d.make(name, true)
	return err
}

// ReadDir implements body.FS.
func (d *disk) ReadDir(name string) (entries []fs.DirEntry, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, n := range d.dirs[name] {
		entries = append(entries, fs.FileInfoToDirEntry(fileInfo{path.Base(p), int64(len(n.data)), n.dir}))
	}
	return entries, nil
}

// SyncDir implements body.FS.
func (d *disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record(event{kind: evSyncDir, name: name}, nil)
}

// OpenFile implements body.FS.
func (d *disk) OpenFile(name string, flag int, _ fs.FileMode) (body.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.open(name, flag)
	if err != nil {
		return nil, err
	}
	return &bodyFile{disk: d, inode: n, name: name}, nil
}

// bodyFile is an open file of a body folder.
type bodyFile struct {
	disk  *disk
	inode *inode
	name  string
	at    int64
}

func (f *bodyFile) Close() error { return nil }
func (f *bodyFile) Sync() error  { return f.disk.sync(f.inode, f.name) }

func (f *bodyFile) Read(b []byte) (int, error) {
	n, err := f.disk.read(f.inode, b, f.at)
	f.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *bodyFile) Write(b []byte) (int, error) {
	n, err := f.disk.write(f.inode, f.name, b, f.at)
	f.at += int64(n)
	return n, err
}

func (f *bodyFile) Stat() (fs.FileInfo, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return fileInfo{path.Base(f.name), int64(len(f.inode.data)), false}, nil
}

type fileInfo struct {
	name string
	size int64
	dir  bool
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.dir }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

// Open implements vfs.VFS. Whatever its folder, a store is at the disk's root.
func (d *disk) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if name == "" { // temporary, and no matter of durability
		return &storeFile{disk: &disk{}, inode: &inode{}}, flags, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	flag := os.O_RDWR
	if flags&vfs.OPEN_CREATE != 0 {
		flag |= os.O_CREATE
	}
	name = "/" + filepath.Base(name)
	n, err := d.open(name, flag)
	if err != nil {
		return nil, flags, vfs.SystemError(err, sqlite3.CANTOPEN)
	}
	// As the VFS of the operating system does: the first sync of a log syncs its name.
	syncDir := flags&vfs.OPEN_CREATE != 0 && flags&(vfs.OPEN_WAL|vfs.OPEN_MAIN_JOURNAL) != 0
	return &storeFile{disk: d, inode: n, name: name, syncDir: syncDir, shm: vfs.NewSharedMemory(d.shm, flags)}, flags, nil
}

// Delete implements vfs.VFS.
func (d *disk) Delete(name string, syncDir bool) error {
	err := d.Remove("/" + filepath.Base(name))
	if err == nil && syncDir {
		err = d.SyncDir("/")
	}
	return vfs.SystemError(err, sqlite3.IOERR_DELETE_NOENT)
}

// Access implements vfs.VFS.
func (d *disk) Access(name string, _ vfs.AccessFlag) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names["/"+filepath.Base(name)] != nil, nil
}

// FullPathname implements vfs.VFS.
func (d *disk) FullPathname(name string) (string, error) { return name, nil }

// storeFile is an open file of a store.
type storeFile struct {
	disk    *disk
	inode   *inode
	name    string
	syncDir bool
	lock    vfs.LockLevel
	shm     vfs.SharedMemory
}

func (f *storeFile) ReadAt(b []byte, off int64) (int, error) { return f.disk.read(f.inode, b, off) }

func (f *storeFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.disk.write(f.inode, f.name, b, off)
	return n, asSQLite(err, sqlite3.IOERR_WRITE)
}

func (f *storeFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	e := event{kind: evTruncate, node: f.inode, name: f.name, off: size}
	return asSQLite(f.disk.record(e, func() { f.inode.apply(e) }), sqlite3.IOERR_TRUNCATE)
}

func (f *storeFile) Sync(vfs.SyncFlag) error {
	if err := f.disk.sync(f.inode, f.name); err != nil {
		return asSQLite(err, sqlite3.IOERR_FSYNC)
	}
	if f.syncDir {
		f.syncDir = false
		return asSQLite(f.disk.SyncDir("/"), sqlite3.IOERR_DIR_FSYNC)
	}
	return nil
}

// asSQLite says an error in SQLite's way.
func asSQLite(err error, code sqlite3.ExtendedErrorCode) error {
	if err == syscall.ENOSPC { //nolint:errorlint // it is made here
		return vfs.SystemError(err, sqlite3.FULL)
	}
	return vfs.SystemError(err, code)
}

func (f *storeFile) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.inode.data)), nil
}

func (f *storeFile) Close() error {
	if f.shm != nil {
		_ = f.shm.Close()
	}
	return f.Unlock(vfs.LOCK_NONE)
}

func (f *storeFile) Lock(lock vfs.LockLevel) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := f.inode
	switch {
	case f.lock >= lock:
		return nil
	case n.exclusive,
		lock == vfs.LOCK_RESERVED && n.reserved,
		lock == vfs.LOCK_EXCLUSIVE && (n.shared > 1 || n.reserved && f.lock < vfs.LOCK_RESERVED):
		return sqlite3.BUSY
	}
	if f.lock == vfs.LOCK_NONE {
		n.shared++
	}
	n.reserved = n.reserved || lock >= vfs.LOCK_RESERVED
	n.exclusive = lock == vfs.LOCK_EXCLUSIVE
	f.lock = lock
	return nil
}

func (f *storeFile) Unlock(lock vfs.LockLevel) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := f.inode
	if f.lock <= lock {
		return nil
	}
	if f.lock >= vfs.LOCK_RESERVED {
		n.reserved = false
	}
	if f.lock == vfs.LOCK_EXCLUSIVE {
		n.exclusive = false
	}
	if lock == vfs.LOCK_NONE {
		n.shared--
	}
	f.lock = lock
	return nil
}

func (f *storeFile) CheckReservedLock() (bool, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.inode.reserved, nil
}

func (f *storeFile) LockState() vfs.LockLevel       { return f.lock }
func (f *storeFile) SectorSize() int                { return 4096 }
func (f *storeFile) SharedMemory() vfs.SharedMemory { return f.shm }
func (f *storeFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_POWERSAFE_OVERWRITE
}

// sectorBytes is what a disk writes whole or not at all.
const sectorBytes = 512

// remains is what a cut leaves of a disk, while it is being found out.
type remains struct {
	rnd   *rand.Rand // nil: all is kept
	nodes map[int]*left
	names map[string]int
	dirs  map[string][]event // unsynced changes of names, by folder
}

// left is what is durable of a file, and what is pending.
type left struct {
	inode
	pending []event
}

// image is the content of a disk after a cut: of the first n events, all that was
// synced, and of the rest what rnd chooses; all of it where rnd is nil.
func (d *disk) image(n int, rnd *rand.Rand) map[string]*inode {
	d.mu.Lock()
	log := d.log[:n:n]
	d.mu.Unlock()
	r := &remains{rnd: rnd, nodes: map[int]*left{}, names: map[string]int{}, dirs: map[string][]event{}}
	for name, n := range d.base {
		r.nodes[n.id] = &left{inode: inode{id: n.id, dir: n.dir, data: n.data}}
		r.names[name] = n.id
	}
	for _, e := range log {
		r.follow(e)
	}
	for _, dir := range slices.Sorted(maps.Keys(r.dirs)) {
		for _, e := range r.dirs[dir] {
			if r.keeps() {
				r.rename(e)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.nodes)) {
		r.settle(r.nodes[id])
	}
	return r.content()
}

// applyAll makes durable what is pending.
func (l *left) applyAll() {
	for _, w := range l.pending {
		l.apply(w)
	}
	l.pending = nil
}

func (r *remains) follow(e event) {
	switch e.kind {
	case evMake:
		r.nodes[e.node.id] = &left{inode: inode{id: e.node.id, dir: e.node.dir}}
		fallthrough
	case evRename, evRemove:
		r.dirs[dirOf(e.name)] = append(r.dirs[dirOf(e.name)], e)
	case evWrite, evTruncate:
		n := r.nodes[e.node.id]
		n.pending = append(n.pending, e)
	case evSync:
		n := r.nodes[e.node.id]
		n.applyAll()
	case evSyncFailed:
		r.settle(r.nodes[e.node.id])
	case evSyncDir:
		for _, c := range r.dirs[e.name] {
			r.rename(c)
		}
		delete(r.dirs, e.name)
	}
}

func (r *remains) keeps() bool { return r.rnd == nil || r.rnd.IntN(2) == 0 }

// rename makes a change of names durable.
func (r *remains) rename(e event) {
	switch e.kind {
	case evMake:
		r.names[e.name] = e.node.id
	case evRename:
		delete(r.names, e.name)
		r.names[e.to] = e.node.id
	case evRemove:
		if r.names[e.name] == e.node.id {
			delete(r.names, e.name)
		}
	}
}

// settle decides about what is pending of a file: none of it is left, or all, or
// some of the writes, or some of their sectors, or the first ones and half of the next.
func (r *remains) settle(n *left) {
	if r.rnd == nil {
		n.applyAll()
		return
	}
	mode, first := r.rnd.IntN(5), r.rnd.IntN(len(n.pending)+1)
	for i, w := range n.pending {
		switch {
		case mode == 1, mode == 2 && r.keeps(), mode == 4 && i < first:
			n.apply(w)
		case mode == 3, mode == 4 && i == first:
			r.tear(n, w)
		case mode != 0 && r.keeps():
			n.grow(w) // the size is there and the content is not
		}
	}
	n.pending = nil
}

// tear applies some sectors of a write.
func (r *remains) tear(n *left, w event) {
	if w.kind == evTruncate {
		if r.keeps() {
			n.apply(w)
		}
		return
	}
	for from := int64(0); from < int64(len(w.data)); {
		to := min(from+sectorBytes-(w.off+from)%sectorBytes, int64(len(w.data)))
		if r.keeps() {
			n.apply(event{kind: evWrite, off: w.off + from, data: w.data[from:to]})
		}
		from = to
	}
	if r.keeps() {
		n.grow(w)
	}
}

// content is what can be reached from the root.
func (r *remains) content() map[string]*inode {
	reached := map[string]*inode{}
	for name, id := range r.names {
		whole := true
		for dir := dirOf(name); dir != "/"; dir = dirOf(dir) {
			_, there := r.names[dir]
			whole = whole && there
		}
		if whole {
			reached[name] = &r.nodes[id].inode
		}
	}
	return reached
}

func (e event) String() string {
	word := []string{"", "make", "rename", "remove", "write", "truncate", "sync", "sync folder", "sync fails:"}[e.kind]
	return strings.TrimSpace(fmt.Sprint(word, " ", e.name, " ", e.to))
}
