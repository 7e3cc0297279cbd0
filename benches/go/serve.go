// Servers: a goroutine a connection.
package main

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"sync"
)

const readBytes = 4096

func serve(protocol, port string) {
	attend := map[string]func(net.Conn){"echo": echo, "mc": cache}[protocol]
	if attend == nil {
		fail(protocol + " is not served here: see list")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fail(err.Error())
	}
	fmt.Println("READY")
	for {
		connection, err := listener.Accept()
		if err != nil {
			fail(err.Error())
		}
		go attend(connection)
	}
}

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, readBytes)
	for {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:count]); err != nil {
			return
		}
	}
}

var (
	lock   sync.Mutex
	values = map[string][]byte{}
)

// The same small part of memcached's protocol that ../src/protocol.rs has.
func cache(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, readBytes)
	var begun, replies []byte
	for {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		begun = append(begun, buffer[:count]...)
		used := 0
		replies = replies[:0]
		lock.Lock()
		for {
			length, reply := serveOne(begun[used:], replies)
			if length == 0 {
				break
			}
			used, replies = used+length, reply
		}
		lock.Unlock()
		begun = append(begun[:0], begun[used:]...)
		if len(replies) == 0 {
			continue
		}
		if _, err := connection.Write(replies); err != nil {
			return
		}
	}
}

// Serves the request at the front: its length, or 0 if it is not whole, and what is said so far.
func serveOne(data, replies []byte) (int, []byte) {
	feed := bytes.IndexByte(data, '\n')
	if feed < 0 {
		return 0, replies
	}
	line := bytes.TrimSuffix(data[:feed], []byte("\r"))
	command, rest, _ := bytes.Cut(line, []byte(" "))
	switch string(command) {
	case "get":
		if value, found := values[string(rest)]; found {
			replies = append(replies, "VALUE "...)
			replies = append(replies, rest...)
			replies = append(replies, " 0 "...)
			replies = strconv.AppendInt(replies, int64(len(value)), 10)
			replies = append(replies, "\r\n"...)
			replies = append(replies, value...)
			replies = append(replies, "\r\n"...)
		}
		return feed + 1, append(replies, "END\r\n"...)
	case "set":
		key, numbers, _ := bytes.Cut(rest, []byte(" "))
		length, err := strconv.Atoi(string(numbers[bytes.LastIndexByte(numbers, ' ')+1:]))
		if err != nil || length < 0 {
			return feed + 1, append(replies, "CLIENT_ERROR bad command line format\r\n"...)
		}
		whole := feed + 1 + length + 2
		if len(data) < whole {
			return 0, replies
		}
		value := data[feed+1 : feed+1+length]
		if known, found := values[string(key)]; found && cap(known) >= length {
			known = append(known[:0], value...)
			values[string(key)] = known
		} else {
			values[string(key)] = append([]byte(nil), value...)
		}
		return whole, append(replies, "STORED\r\n"...)
	}
	return feed + 1, append(replies, "ERROR\r\n"...)
}
