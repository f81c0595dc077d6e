"""A local exchange and a local Ethereum node that speak the real protocols, over a world with a planted truth.

The world is a pure function of (seed, event time, block height): nothing is stored, any moment of its history can be
computed on its own, and a sandbox that is started again with the same seed goes on with the very same world.

::

    draws       random numbers without state: hashes of (seed, what, which)
    world       the settings, and everything that follows from them
    clock       event time: the wall clock, or a faster one
    regime      rising, stable and falling phases of the market
    groups      which coin belongs to which group, and when it moves
    market      prices and trades, in chunks of ten minutes
    candles     klines from those trades
    agents      the addresses of the chain and how they behave
    chain       heights, hashes, branches, reorganisations and what a node announces when
    ledger      the transactions of a block
    ethjson     blocks and receipts as a node writes them
    streams     Binance's websocket messages, rest its REST answers (no sockets in either)
    wire        one websocket: queue, pings, and the seam for faults
    faults      what can be told to go wrong
    exchange    Binance's websocket and REST on one port
    node        JSON-RPC over HTTP and websocket on one port
    service     both servers, in this process or in a child that ends with it
    truth       the file that says what was planted
"""
