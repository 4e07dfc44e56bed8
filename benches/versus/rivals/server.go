// Go's net package as a rival: a goroutine per connection, and channels to a pool in mode pool.
//
// It speaks the command line of every rival (see ../README.md).
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"runtime"
)

const frameMax = 16 << 20

// A frame on its way through the pool; the answer comes back on its own channel.
type job struct {
	frame  []byte
	answer chan []byte
}

func raw(connection net.Conn, bufferLen int) error {
	buffer := make([]byte, bufferLen)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := connection.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// Reads one frame, header included, into buffer.
func readFrame(reader *bufio.Reader, buffer []byte) ([]byte, error) {
	header, err := reader.Peek(4)
	if err != nil {
		return nil, err
	}
	body := binary.BigEndian.Uint32(header)
	if body > frameMax {
		return nil, fmt.Errorf("frame of %d bytes", body)
	}
	len := 4 + int(body)
	if cap(buffer) < len {
		buffer = make([]byte, len)
	}
	_, err = io.ReadFull(reader, buffer[:len])
	return buffer[:len], err
}

// Flushes when nothing more has been read.
func framed(connection net.Conn, bufferLen int) error {
	reader := bufio.NewReaderSize(connection, bufferLen)
	writer := bufio.NewWriterSize(connection, bufferLen)
	var frame []byte
	for {
		var err error
		if frame, err = readFrame(reader, frame); err != nil {
			return err
		}
		writer.Write(frame)
		if reader.Buffered() == 0 {
			if err := writer.Flush(); err != nil {
				return err
			}
		}
	}
}

// A second goroutine writes the answers in order, at most 64 under way.
func pooled(connection net.Conn, bufferLen int, jobs chan<- job) error {
	answers := make(chan chan []byte, 64)
	defer close(answers)
	go func() {
		writer := bufio.NewWriterSize(connection, bufferLen)
		for answer := range answers {
			writer.Write(<-answer)
			if len(answers) == 0 {
				writer.Flush()
			}
		}
	}()
	reader := bufio.NewReaderSize(connection, bufferLen)
	for {
		frame, err := readFrame(reader, nil)
		if err != nil {
			return err
		}
		answer := make(chan []byte, 1)
		jobs <- job{frame, answer}
		answers <- answer
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "")
	mode := flag.String("mode", "raw", "")
	workers := flag.Int("workers", 1, "")
	pool := flag.Int("pool", 4, "")
	bufferLen := flag.Int("buffer", 65536, "")
	flag.Int("spin", 0, "ignored")
	flag.Int("idle", 0, "ignored")
	flag.Int("reuse-port", 0, "ignored")
	flag.Int("pin", 0, "ignored")
	flag.Parse()
	runtime.GOMAXPROCS(*workers)

	jobs := make(chan job, 1024)
	if *mode == "pool" {
		for i := 0; i < *pool; i++ {
			go func() {
				for job := range jobs {
					job.answer <- job.frame
				}
			}()
		}
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			switch *mode {
			case "raw":
				raw(connection, *bufferLen)
			case "framed":
				framed(connection, *bufferLen)
			default:
				pooled(connection, *bufferLen, jobs)
			}
		}()
	}
}
