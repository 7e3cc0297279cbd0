// The workloads on goroutines; workers is GOMAXPROCS. The command line is that of the programs in
// Rust, see ../src/lib.rs; what one op is stands in ../src/names.rs.
package main

import (
	"fmt"
	"math"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	batch           = 1000
	branches        = 10
	channelCapacity = 100
	unevenTasks     = 1000
	piecesAtOnce    = 16
	long            = 10 * time.Second
)

// What is measured, in this order. A body returns what it has measured itself, or nil if it did
// exactly the ops it was asked for.
var table = []struct {
	name    string
	workers string
	body    func(ops int) *measured
}{
	{"yield_2", "1,2", func(ops int) *measured { return yields(2, ops) }},
	{"yield_1000", "1,2", func(ops int) *measured { return yields(1000, ops) }},
	{"spawn_seq", "1,2", oneByOne},
	{"spawn_batch", "1,2", batches},
	{"skynet", "1,2", skynet},
	{"zipf", "1,2", uneven},
	{"pingpong", "1,2", func(ops int) *measured { return roundTrips(ops, false) }},
	{"pingpong_cross", "2", func(ops int) *measured { return roundTrips(ops, true) }},
	{"chan_1p1c", "1,2", func(ops int) *measured { return bounded(1, ops) }},
	{"chan_4p1c", "1,2", func(ops int) *measured { return bounded(4, ops) }},
	{"mutex_uncontended", "1", uncontended},
	{"mutex_contended8", "1,2", func(ops int) *measured { return shared(ops, func() {}) }},
	{"mutex_yield8", "1,2", func(ops int) *measured { return shared(ops, runtime.Gosched) }},
	{"select_2", "1,2", choices},
	{"timer_cancel", "1", limits},
	{"timeout_wait", "1", roundTripsInTime},
	{"timer_sleep", "1,2", sleepers},
	{"mem", "1", parked},
}

func main() {
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 0 || arguments[0] == "list":
		for _, workload := range table {
			fmt.Println(workload.name, workload.workers)
		}
		fmt.Println("serve-echo 1")
		fmt.Println("serve-mc 1")
	case arguments[0] == "bench" && len(arguments) >= 4:
		bench(arguments[1], arguments[2], arguments[3])
	case arguments[0] == "serve" && len(arguments) == 3:
		runtime.GOMAXPROCS(1)
		serve(arguments[1], arguments[2])
	default:
		fail("usage: go-bench [list] | go-bench bench NAME WORKERS N | go-bench serve PROTOCOL PORT")
	}
}

func fail(complaint string) {
	fmt.Fprintln(os.Stderr, complaint)
	os.Exit(2)
}

func bench(name, workers, count string) {
	ops, err := strconv.Atoi(count)
	if err != nil {
		fail("not a number of ops: " + count)
	}
	for _, workload := range table {
		if workload.name != name {
			continue
		}
		threads, err := strconv.Atoi(workers)
		if err != nil || !strings.Contains(","+workload.workers+",", ","+workers+",") {
			fail(name + " does not run on " + workers + " workers")
		}
		runtime.GOMAXPROCS(threads)
		meter := start()
		result := workload.body(ops)
		if result == nil {
			stopped := meter.stop(ops)
			result = &stopped
		}
		result.print()
		return
	}
	fail("there is no workload " + name + " here: see list")
}

type meter struct {
	begun           time.Time
	processor       int64
	rss, pageTables uint64
}

type measured struct {
	ops             int
	wall, processor int64
	more            string
}

func start() meter {
	runtime.GC()
	m := meter{rss: memory("VmRSS:"), pageTables: memory("VmPTE:"), processor: processor()}
	m.begun = time.Now()
	return m
}

func (m meter) stop(ops int) measured {
	wall := time.Since(m.begun).Nanoseconds()
	return measured{ops: ops, wall: wall, processor: processor() - m.processor}
}

func (m measured) print() {
	ops := math.Max(1, float64(m.ops))
	fmt.Printf(`{"ns_per_op":%.2f,"cpu_ns_per_op":%.2f,"wall_ms":%.2f,"peak_rss_mb":%d%s}`+"\n",
		float64(m.wall)/ops, float64(m.processor)/ops, float64(m.wall)/1e6,
		memory("VmHWM:")>>20, m.more)
}

func processor() int64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// Bytes; 0 where the system does not say.
func memory(field string) uint64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if rest, found := strings.CutPrefix(line, field); found {
			kib, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// How many of total ops the part of this number does, if there are so many parts.
func share(total, parts, part int) int {
	if part < total%parts {
		return total/parts + 1
	}
	return total / parts
}

func yields(tasks, ops int) *measured {
	var all sync.WaitGroup
	all.Add(tasks)
	for task := 0; task < tasks; task++ {
		go func(share int) {
			for ; share > 0; share-- {
				runtime.Gosched()
			}
			all.Done()
		}(share(ops, tasks, task))
	}
	all.Wait()
	return nil
}

func oneByOne(ops int) *measured {
	var one sync.WaitGroup
	for ; ops > 0; ops-- {
		one.Add(1)
		go one.Done()
		one.Wait()
	}
	return nil
}

func batches(ops int) *measured {
	var all sync.WaitGroup
	for ; ops > 0; ops -= batch {
		count := min(ops, batch)
		all.Add(count)
		for ; count > 0; count-- {
			go all.Done()
		}
		all.Wait()
	}
	return nil
}

// The leaves' numbers, added up by a goroutine for each branch.
func sum(into chan<- int, first, leaves int) {
	if leaves <= 1 {
		into <- first * leaves
		return
	}
	parts := make(chan int)
	count := 0
	for branch := 0; branch < branches; branch++ {
		if size := share(leaves, branches, branch); size > 0 {
			go sum(parts, first, size)
			first += size
			count++
		}
	}
	total := 0
	for ; count > 0; count-- {
		total += <-parts
	}
	into <- total
}

func treeTasks(leaves int) int {
	if leaves <= 1 {
		return 1
	}
	tasks := 1
	for branch := 0; branch < branches; branch++ {
		if size := share(leaves, branches, branch); size > 0 {
			tasks += treeTasks(size)
		}
	}
	return tasks
}

func skynet(leaves int) *measured {
	meter := start()
	into := make(chan int)
	go sum(into, 0, leaves)
	if <-into != leaves*(leaves-1)/2 {
		panic("the sum is wrong")
	}
	m := meter.stop(treeTasks(leaves))
	return &m
}

var sink uint64

// As many multiplications as a piece of work has elsewhere.
func work() {
	value := uint64(1)
	for step := uint64(0); step < 64; step++ {
		value = value*0x9e3779b97f4a7c15 ^ step
	}
	atomic.StoreUint64(&sink, value)
}

func uneven(ops int) *measured {
	parts, total, left := make([]int, unevenTasks), 0.0, ops
	for rank := range parts {
		total += math.Pow(float64(rank+1), -1.1)
	}
	for rank := range parts {
		parts[rank] = int(float64(ops) * math.Pow(float64(rank+1), -1.1) / total)
		left -= parts[rank]
	}
	parts[0] += left
	rand.New(rand.NewSource(1)).Shuffle(len(parts), func(a, b int) {
		parts[a], parts[b] = parts[b], parts[a]
	})
	var all sync.WaitGroup
	all.Add(len(parts))
	for _, pieces := range parts {
		go func(pieces int) {
			for piece := 0; piece < pieces; piece++ {
				work()
				if piece%piecesAtOnce == 0 {
					runtime.Gosched()
				}
			}
			all.Done()
		}(pieces)
	}
	all.Wait()
	return nil
}

func answer(questions <-chan int, answers chan<- int) {
	for value := range questions {
		answers <- value
	}
}

func roundTrips(ops int, across bool) *measured {
	questions, answers := make(chan int), make(chan int)
	var both sync.WaitGroup
	both.Add(2)
	go func() {
		if across {
			runtime.LockOSThread()
		}
		answer(questions, answers)
		both.Done()
	}()
	go func() {
		if across {
			runtime.LockOSThread()
		}
		for number := 0; number < ops; number++ {
			questions <- number
			<-answers
		}
		close(questions)
		both.Done()
	}()
	both.Wait()
	return nil
}

func roundTripsInTime(ops int) *measured {
	questions, answers := make(chan int), make(chan int)
	go answer(questions, answers)
	for number := 0; number < ops; number++ {
		questions <- number
		limit := time.NewTimer(long)
		select {
		case <-answers:
			limit.Stop()
		case <-limit.C:
			panic("it answers at once")
		}
	}
	close(questions)
	return nil
}

func bounded(producers, ops int) *measured {
	channel := make(chan int, channelCapacity)
	for producer := 0; producer < producers; producer++ {
		go func(share int) {
			for number := 0; number < share; number++ {
				channel <- number
			}
		}(share(ops, producers, producer))
	}
	for ; ops > 0; ops-- {
		<-channel
	}
	return nil
}

func choices(ops int) *measured {
	left, right := make(chan int), make(chan int)
	for side, channel := range []chan int{left, right} {
		go func(channel chan int, half int) {
			for number := 0; number < half; number++ {
				channel <- number
			}
		}(channel, share(ops, 2, side))
	}
	for ; ops > 0; ops-- {
		select {
		case <-left:
		case <-right:
		}
	}
	return nil
}

func uncontended(ops int) *measured {
	var lock sync.Mutex
	count := 0
	for left := ops; left > 0; left-- {
		lock.Lock()
		count++
		lock.Unlock()
	}
	if count != ops {
		panic("the count is wrong")
	}
	return nil
}

func shared(ops int, meanwhile func()) *measured {
	const tasks = 8
	var lock sync.Mutex
	var all sync.WaitGroup
	count := 0
	all.Add(tasks)
	for task := 0; task < tasks; task++ {
		go func(share int) {
			for ; share > 0; share-- {
				lock.Lock()
				count++
				meanwhile()
				lock.Unlock()
			}
			all.Done()
		}(share(ops, tasks, task))
	}
	all.Wait()
	if count != ops {
		panic("the count is wrong")
	}
	return nil
}

func limits(ops int) *measured {
	for ; ops > 0; ops-- {
		time.NewTimer(long).Stop()
	}
	return nil
}

func sleepers(ops int) *measured {
	random := rand.New(rand.NewSource(1))
	most := max(1, min(1000, ops/100))
	var all sync.WaitGroup
	all.Add(ops)
	for ; ops > 0; ops-- {
		span := time.Duration(1+random.Intn(most)) * time.Millisecond
		go func() {
			time.Sleep(span)
			all.Done()
		}()
	}
	all.Wait()
	return nil
}

func parked(tasks int) *measured {
	gate := make(chan struct{})
	var arrived, gone atomic.Int64
	meter := start()
	for task := 0; task < tasks; task++ {
		go func() {
			arrived.Add(1)
			<-gate
			gone.Add(1)
		}()
	}
	until := func(counter *atomic.Int64) {
		for counter.Load() < int64(tasks) {
			runtime.Gosched()
		}
	}
	until(&arrived)
	waiting := meter.stop(tasks)
	each := func(now, before uint64) float64 {
		return (float64(now) - float64(before)) / math.Max(1, float64(tasks))
	}
	rss, pageTables := each(memory("VmRSS:"), meter.rss), each(memory("VmPTE:"), meter.pageTables)
	ending := start()
	close(gate)
	until(&gone)
	ended := ending.stop(tasks)
	waiting.more = fmt.Sprintf(
		`,"rss_per_task":%.1f,"pte_per_task":%.1f,"teardown_ns_per_op":%.2f,"teardown_cpu_ns_per_op":%.2f`,
		rss, pageTables, float64(ended.wall)/float64(tasks), float64(ended.processor)/float64(tasks))
	return &waiting
}
